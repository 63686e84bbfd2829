/** Which segments are fetched ahead near a miss, and how many at a time. */
import test from 'brittle'
import { MAP_LEAF_CHUNKS } from '../../../lib/base/limits.ts'
import { emptyLeaf, packRef, type MapLeaf } from '../../../lib/format/map.ts'
import { AheadWindow } from '../../../lib/volume/ahead-window.ts'
import { NearPrefetch } from '../../../lib/volume/near-prefetch.ts'
import { Nearby, type Terrain } from '../../../lib/volume/nearby.ts'
import { segmentName } from '../../../lib/volume/segment-cache.ts'

/** Chunk n is in slot n % 16 of block n / 16; every fourth segment is zeros. */
function terrain(leaves = 4, log = 0): Terrain {
  const made: MapLeaf[] = Array.from({ length: leaves }, emptyLeaf)
  for (let chunk = 0; chunk < leaves * MAP_LEAF_CHUNKS; chunk++) {
    const block = Math.floor(chunk / 16)
    if (block % 4 === 3) continue
    const leaf = made[Math.floor(chunk / MAP_LEAF_CHUNKS)]
    leaf.blocks[chunk % MAP_LEAF_CHUNKS] = block
    leaf.refs[chunk % MAP_LEAF_CHUNKS] = packRef(log, chunk % 16)
  }
  return { chunks: leaves * MAP_LEAF_CHUNKS, leafIfLoaded: (index) => made[index] }
}

function all(nearby: Nearby): number[] {
  const blocks: number[] = []
  for (let place = nearby.next(); place !== null; place = nearby.next()) blocks.push(place.block)
  return blocks
}

test('nearby: around a miss, each once, further up than down', (t) => {
  const nearby = new Nearby()
  t.is(nearby.next(), null)
  nearby.know(segmentName(0, 80)) // what is missed itself
  nearby.missed(terrain(), 80 * 16)
  const blocks = all(nearby)
  t.is(blocks[0], 81, 'the neighbour first')
  t.alike(
    blocks.toSorted((a, b) => a - b),
    [77, 78, 81, 82, 84, 85, 86]
  )
  nearby.missed(terrain(), 80 * 16)
  t.alike(all(nearby), [], 'nothing twice')
})

test('nearby: a stretch that goes on gets longer, and the last miss comes first', (t) => {
  const nearby = new Nearby()
  const map = terrain()
  nearby.missed(map, 16)
  const first = all(nearby).length
  nearby.missed(map, 100 * 16)
  nearby.missed(map, 106 * 16)
  t.ok(all(nearby).length > 2 * first)
  nearby.missed(map, 16)
  nearby.missed(map, 200 * 16)
  t.is(nearby.next()?.block, 200)
})

test('nearby: ends where the map is not in memory, and where the volume ends', (t) => {
  const nearby = new Nearby()
  const map = terrain(2)
  nearby.missed({ ...map, leafIfLoaded: (i) => (i === 0 ? map.leafIfLoaded(0) : undefined) }, 1020)
  t.ok(all(nearby).every((block) => block < 64))
  nearby.missed(map, map.chunks - 1)
  t.ok(all(nearby).every((block) => block < 128))
})

test('ahead window: fills an idle link, and gives way when answers queue', (t) => {
  const window = new AheadWindow()
  for (let i = 0; i < 40; i++) window.answered(20, window.size)
  const wide = window.size
  t.ok(wide > 20, `${wide} while answers take as long as the first`)
  for (let i = 0; i < 200; i++) window.answered(20 * Math.max(1, window.size / 6), window.size)
  t.ok(window.size >= 5 && window.size <= 10, `${window.size} where 6 fill the link`)
  for (let i = 0; i < 200; i++) window.answered(2000, window.size)
  t.ok(window.size <= 3)
})

test('near prefetch: keeps to the window, and stops where all is here', async (t) => {
  let underWay = 0
  let most = 0
  const asked: number[] = []
  const near = new NearPrefetch({
    fetch: async (_log, blocks) => {
      underWay += blocks.length
      most = Math.max(most, underWay)
      asked.push(...blocks)
      await new Promise((resolve) => setImmediate(resolve))
      underWay -= blocks.length
      return blocks.length
    }
  })
  const map = terrain()
  for (let chunk = 0; chunk < map.chunks; chunk += 64) near.missed(map, chunk, [])
  while (underWay > 0) await new Promise((resolve) => setImmediate(resolve))
  t.ok(asked.length > 150, `${asked.length} of 192`)
  t.is(new Set(asked).size, asked.length, 'nothing twice')
  t.ok(most <= 64)

  let requests = 0
  const local = new NearPrefetch({
    fetch: () => {
      requests++
      return Promise.resolve(0)
    }
  })
  local.missed(map, 500, [])
  await new Promise((resolve) => setTimeout(resolve, 20))
  t.ok(requests > 0 && requests <= 10, `${requests} requests`)

  const failing = new NearPrefetch({ fetch: () => Promise.reject(new Error('no daemon')) })
  failing.missed(map, 500, [])
  failing.missed(map, 900, [])
  await new Promise((resolve) => setImmediate(resolve))
  t.pass('a request that fails harms nobody')
})
