/** Room kept for a full disk: taken where there is much, kept once. */
import { mkdtemp, rm, stat } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import test from 'brittle'
import { Ballast } from '../../../lib/daemon/pruning/ballast.ts'

const MIB = 1024 ** 2

test('the ballast is a file of at most 128 MiB, where there is room', async (t) => {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'ballast-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const file = path.join(directory, 'reserve')
  const ballast = new Ballast(file, directory)
  await ballast.keep()
  const { blocks, ino } = await stat(file)
  t.ok(blocks * 512 >= 8 * MIB && blocks * 512 <= 129 * MIB, `${blocks * 512} bytes`)
  await ballast.spend()
  await ballast.keep()
  t.is((await stat(file)).ino, ino, 'the disk is not full: it stays')
  await new Ballast(path.join(directory, 'none', 'x'), '/nowhere').keep()
})
