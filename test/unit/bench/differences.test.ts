import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import test from 'brittle'
import { Differences } from '../../bench/versions/differences.ts'

const KIB = 1024
/** What compression of random data adds at most: nothing, it is stored as it is. */
const NEAR = 100

test('differences: changed blocks of 128 KiB, and chunks of 4 KiB that are new', async (t) => {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'hpdiff-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const image = async (name: string, data: Buffer) => {
    const file = path.join(directory, name)
    await writeFile(file, data)
    return file
  }
  const first = Buffer.concat([randomBytes(256 * KIB), Buffer.alloc(6000 * KIB)])
  const differences = new Differences()
  const a = await image('a', first)
  const whole = await differences.cost(a, null)
  t.ok(Math.abs(whole.blockBytes - 256 * KIB) < NEAR, 'zeros cost nothing')
  t.ok(Math.abs(whole.chunkBytes - 256 * KIB) < NEAR)

  const second = Buffer.from(first)
  second.writeUInt8(first[5000] ^ 1, 5000)
  const b = await image('b', second)
  const little = await differences.cost(b, a)
  t.ok(Math.abs(little.blockBytes - 128 * KIB) < NEAR, 'one byte costs a block')
  t.ok(Math.abs(little.chunkBytes - 4 * KIB) < NEAR, 'or a chunk')

  const third = Buffer.from(second)
  first.copy(third, 5000 * KIB, 4 * KIB, 12 * KIB)
  const moved = await differences.cost(await image('c', third), b)
  t.ok(moved.blockBytes > 8 * KIB, 'a copy costs block differencing its compressed block')
  t.is(moved.chunkBytes, 0, 'and is nothing new')
})
