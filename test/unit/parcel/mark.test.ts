/** What is marked is what versions need, no more and no less: whatever was cloned, rolled back, abandoned and pruned. */
import test from 'brittle'
import * as fc from 'fast-check'
import { Marker } from '../../../lib/parcel/mark.ts'
import { CHUNKS, Model, type Write } from '../../helpers/version-model.ts'

/** Runs of neighbours, some with content that others have too. */
const writes = fc.array(
  fc.record({
    first: fc.nat(CHUNKS - 1),
    count: fc.integer({ min: 1, max: 300 }),
    value: fc.nat(100)
  }),
  { minLength: 1, maxLength: 4 }
)
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('write'), at: fc.nat(), writes }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('clone'), at: fc.nat(), of: fc.nat() }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('rollback'), at: fc.nat(), of: fc.nat() })
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('abandon'), at: fc.nat(), writes }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('retire'), at: fc.nat() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('scatter'),
      at: fc.nat(),
      of: fc.integer({ min: 5, max: 15 })
    })
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('repack'), at: fc.nat() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('prune'),
      at: fc.nat(),
      keep: fc.integer({ min: 1, max: 3 })
    })
  }
)
type Step = { kind: string; at: number; of?: number; keep?: number; writes?: Write[] }

test('versions that stay are whole, and nothing else is left', { timeout: 120_000 }, async (t) => {
  let prunes = 0
  let repacked = 0
  let dropped = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(step as fc.Arbitrary<Step>, { minLength: 8, maxLength: 24 }),
      async (steps) => {
        const model = new Model()
        await model.write(model.parcels[0], [{ first: 0, count: 2000, value: 1 }])
        for (const step of steps) {
          const parcel = model.parcels[step.at % model.parcels.length]
          const usable = [...parcel.kept]
          if (step.kind === 'write') await model.write(parcel, step.writes!)
          else if (step.kind === 'clone') await model.clone(usable[step.of! % usable.length])
          else if (step.kind === 'rollback')
            await model.rollback(parcel, usable[step.of! % usable.length])
          else if (step.kind === 'abandon') await model.abandon(parcel, step.writes!)
          else if (step.kind === 'retire') model.retire(parcel)
          else if (step.kind === 'scatter') await model.write(parcel, scattered(step.of!))
          else if (step.kind === 'repack') {
            dropped += await model.prune(parcel, 1)
            repacked += await model.repack(parcel)
          } else {
            dropped += await model.prune(parcel, step.keep!)
            prunes++
            await model.check(parcel)
          }
        }
      }
    ),
    { numRuns: 40 }
  )
  t.ok(prunes > 20 && dropped > 100, `${prunes} prunes dropped ${dropped} blocks`)
  t.ok(repacked > 100, `${repacked} segments were packed anew`)
})

/** So many chunks of each segment's. */
function scattered(count: number): Write[] {
  return Array.from({ length: 120 }, (_, i) => ({ first: i * 16, count, value: 99 }))
}

test('a map that is missing names nothing, a damaged one stops the marking', async (t) => {
  const model = new Model()
  const [first] = model.parcels
  await model.write(first, [{ first: 0, count: 2000, value: 99 }])
  const [version] = first.versions
  const { root } = version.reader.volume('disk0')
  const { blocks } = model.store.of(first.logs[0])
  const place = first.parcel.places.get(version.reader)!
  const map = blocks[root!.block]
  const marked = async () => {
    const marker = new Marker(model.source)
    await marker.version(place)
    return marker.needed.size
  }
  const all = await marked()
  t.is(all, version.closure.size)
  Reflect.deleteProperty(blocks, root!.block)
  t.is(await marked(), 2, 'the record and the map that is not here')
  const bad = Buffer.from(map)
  bad[bad.length - 1] ^= 1
  blocks[root!.block] = bad
  await t.exception(marked(), { code: 'DATA_CORRUPT' })
  blocks[root!.block] = map
  t.is(await marked(), all)
})
