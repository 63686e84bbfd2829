/** The recovery phrase: 24 English words (BIP39, 256 bits) on paper, from which the recovery key pair comes. */
import { entropyToMnemonic, mnemonicToEntropy } from '@scure/bip39'
import { wordlist } from '@scure/bip39/wordlists/english.js'
import { HyperparcelError } from '../base/errors.ts'
import { derive, randomBytes, wipe } from './derive.ts'
import type { KeyPair } from './sign.ts'
import { keyPair } from './sign.ts'

const ENTROPY_BYTES = 32
const WORDS = 24

/** A new phrase: words in lower case with single spaces. */
export function createRecoveryPhrase(): string {
  const entropy = randomBytes(ENTROPY_BYTES)
  const phrase = entropyToMnemonic(entropy, wordlist)
  wipe(entropy)
  return phrase
}

/**
 * The recovery key pair of a phrase, case and spaces as one likes. Comes straight from the words' 256 bits: a
 * slow hash would protect a weak secret, and this is none. Throws `PHRASE_INVALID`.
 */
export function recoveryKeys(phrase: string): KeyPair {
  const words = phrase.normalize('NFKD').trim().toLowerCase().split(/\s+/)
  if (words.length !== WORDS) {
    throw new HyperparcelError(
      'PHRASE_INVALID',
      `A recovery phrase has ${WORDS} words, not ${words.length}`
    )
  }
  const wrong = words.findIndex((word) => !wordlist.includes(word))
  if (wrong !== -1) {
    throw new HyperparcelError(
      'PHRASE_INVALID',
      `Word ${wrong + 1} of the recovery phrase is none of the list`,
      {
        hint: 'Look at that word once more.'
      }
    )
  }
  let entropy: Buffer
  try {
    entropy = Buffer.from(mnemonicToEntropy(words.join(' '), wordlist))
  } catch (err) {
    throw new HyperparcelError(
      'PHRASE_INVALID',
      'The recovery phrase has a wrong word, or two in wrong order',
      {
        hint: 'Every word is one of the list, but their checksum does not fit.',
        cause: err
      }
    )
  }
  const seed = derive(entropy, 'recovery')
  const keys = keyPair(seed)
  wipe(entropy, seed)
  return keys
}
