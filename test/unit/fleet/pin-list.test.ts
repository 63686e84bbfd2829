import test from 'brittle'
import { keyPair } from '../../../lib/fleet/index.ts'
import { openPinList, signPinList } from '../../../lib/fleet/pin-list.ts'
import { decodePinList, encodePinList, type PinList } from '../../../lib/format/pin-list.ts'
import { samplePins } from '../../helpers/pin-list.ts'

const pins = samplePins()
const { fleet } = pins
const author = keyPair(Buffer.alloc(32, 1))
const FORMAT = ['FORMAT_INVALID', 'FORMAT_TOO_NEW']

test('pin lists: any change breaks the signature, another fleet too', async (t) => {
  const { device: _device, signature: _signature, ...draft } = pins
  const signed = signPinList(author, draft)
  t.alike(openPinList(fleet, signed).entries, pins.entries)
  await t.exception(() => openPinList(Buffer.alloc(32, 99), signed), /not signed for this fleet/)
  for (let at = 0; at < signed.byteLength; at++) {
    const changed = Buffer.from(signed)
    changed[at] ^= 1
    try {
      openPinList(fleet, changed)
      t.fail(`byte ${at}`)
    } catch (err) {
      if (
        (err as { code: string }).code !== 'PIN_LIST_INVALID' &&
        !FORMAT.includes((err as { code: string }).code)
      )
        throw err
    }
  }
})

test('pin lists that name impossible blocks, or too many, are refused', async (t) => {
  const named = (run: PinList['entries'][0]['runs'][0]) =>
    encodePinList({ ...pins, entries: [{ ...pins.entries[0], runs: [run] }] })
  await t.exception(() => decodePinList(named({ log: 2, start: 0, count: 1 })), /no log can have/)
  await t.exception(() => decodePinList(named({ log: 0, start: 0, count: 0 })), /no log can have/)
  await t.exception(
    () => decodePinList(named({ log: 0, start: 2 ** 50, count: 1 })),
    /no log can have/
  )
  await t.exception(
    () => decodePinList(named({ log: 0, start: 0, count: 2 ** 30 })),
    /too many blocks/
  )
})
