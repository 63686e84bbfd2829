/** The candidate's side of pairing: from the text of an invite to what `adoptFleet` needs. */
import BlindPairing from 'blind-pairing'
import { systemClock } from '../base/clock.ts'
import type { Clock } from '../base/clock.ts'
import { HyperparcelError } from '../base/errors.ts'
import type { Invite, JoinAnswer } from '../format/invite.ts'
import { decodeJoinAnswer } from '../format/invite.ts'
import { decodeCard } from '../format/device-card.ts'
import { isGenuine } from './card-book.ts'
import { inviteFromText, pairingKeys } from './invite-text.ts'
import { createJoinRequest } from './join-request.ts'
import { PAIRING_POLL_MS } from './pairing.ts'
import type { KeyPair } from './sign.ts'
import { openBox } from './wrap.ts'

export const JOIN_TIMEOUT_MS = 60_000
/** How long ending waits for the DHT, which may be gone. */
const CLOSE_MS_MAX = 2000

export interface JoinOptions {
  /** A Hyperswarm whose key is the device key. Strangers must be let in meanwhile. */
  swarm: object
  invite: string
  device: KeyPair
  /** The name that the device wishes; the answer has the one it got. */
  name: string
  /** `PEER_UNREACHABLE` after it. */
  timeoutMs?: number
  pollMs?: number
  signal?: AbortSignal
  clock?: Clock
}

/**
 * What an invite says before it is used: its role, when it expires, which DHT. Throws `INVITE_INVALID`,
 * `INVITE_EXPIRED`, `FORMAT_TOO_NEW`.
 */
export function readInvite(text: string, clock: Clock = systemClock): Invite {
  const invite = inviteFromText(text)
  if (invite.expires * 1000 <= clock.now()) throw failure('INVITE_EXPIRED')
  return invite
}

/**
 * Uses an invite. Nothing is stored here: pass the answer to `adoptFleet`. Should that fail, the same device key
 * may use the same invite again.
 * Rejects with `INVITE_INVALID`, `INVITE_EXPIRED`, `INVITE_USED`, `PEER_UNREACHABLE`, or the signal's reason.
 */
export async function joinFleet(opts: JoinOptions): Promise<JoinAnswer> {
  const { swarm, device, name, pollMs = PAIRING_POLL_MS, signal } = opts
  signal?.throwIfAborted()
  const invite = readInvite(opts.invite, opts.clock)
  const keys = pairingKeys(invite)
  const userData = createJoinRequest(device, keys.id, name, invite.role)
  const pairing = new BlindPairing(swarm, { poll: pollMs })
  let candidate: BlindPairing.Candidate | null = null
  try {
    await pairing.ready()
    const paired = await new Promise<BlindPairing.Paired>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(failure('PEER_UNREACHABLE')),
        opts.timeoutMs ?? JOIN_TIMEOUT_MS
      )
      const onabort = (): void => settle(() => reject(signal!.reason as Error))
      const settle = (how: () => void): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', onabort)
        how()
      }
      signal?.addEventListener('abort', onabort, { once: true })
      candidate = pairing.addCandidate({
        invite: keys.invite,
        userData,
        onadd: (answer) => settle(() => resolve(answer))
      })
      candidate.request.on('rejected', (err: { code?: string }) => {
        const code = REJECTIONS[err.code ?? '']
        // Without a code it is an answer that does not open: not from who has the invite.
        if (code !== undefined) settle(() => reject(failure(code)))
      })
    })
    return openAnswer(device, invite, paired)
  } finally {
    const ended = pairing.close().catch(() => {})
    let timer: NodeJS.Timeout | undefined
    await Promise.race([ended, new Promise((done) => (timer = setTimeout(done, CLOSE_MS_MAX)))])
    clearTimeout(timer)
  }
}

function openAnswer(device: KeyPair, invite: Invite, paired: BlindPairing.Paired): JoinAnswer {
  try {
    const opened = paired.data === null ? null : openBox(device, paired.data)
    if (opened === null) throw failure('INVITE_INVALID')
    const answer = decodeJoinAnswer(opened)
    const hasKeys = answer.keys !== null
    if (
      answer.role !== invite.role ||
      hasKeys !== (answer.role === 'device') ||
      !isGenuine(answer.fleet, decodeCard(answer.card))
    ) {
      throw failure('INVITE_INVALID')
    }
    return answer
  } catch (err) {
    const { code } = err as { code?: string }
    throw code === 'FORMAT_TOO_NEW' || code === 'INVITE_INVALID' ? err : failure('INVITE_INVALID')
  }
}

const REJECTIONS: Readonly<Record<string, keyof typeof FAILURES>> = {
  PAIRING_REJECTED: 'INVITE_INVALID',
  INVITE_USED: 'INVITE_USED',
  INVITE_EXPIRED: 'INVITE_EXPIRED'
}

const FAILURES = {
  INVITE_INVALID: [
    'The other device did not accept this device',
    'Look at its log, then ask for a new invite.'
  ],
  INVITE_USED: [
    'This invite was used or withdrawn',
    'An invite is for one device: ask for a new one.'
  ],
  INVITE_EXPIRED: [
    'This invite has expired',
    'Ask for a new one, and see that both clocks are right.'
  ],
  PEER_UNREACHABLE: [
    'The device that made this invite cannot be reached',
    'See that it is on and its daemon runs, and that both devices use the same DHT (--bootstrap).'
  ]
} as const

function failure(code: keyof typeof FAILURES): HyperparcelError {
  const [message, hint] = FAILURES[code]
  return new HyperparcelError(code, message, { hint })
}
