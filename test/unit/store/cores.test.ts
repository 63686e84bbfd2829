/** What the database does on its own account must not grow with the store. */
import { readdir, readlink } from 'node:fs/promises'
import path from 'node:path'
import test from 'brittle'
import { CORES_DIRECTORY } from '../../../lib/store/log-store.ts'
import { createLogStore } from '../../helpers/stores.ts'

const COMMITS = 320
const OPEN_FILES_MAX = 256

test('many commits neither move what was there nor keep a file each open', async (t) => {
  const store = await createLogStore(t)
  const log = await store.current('parcel:a')
  await log.append(Array.from({ length: 128 }, (_, i) => Buffer.alloc(65536, i)))
  await store.flush()
  const directory = path.join(store.directory, CORES_DIRECTORY, 'db')
  const blobs = async () => (await readdir(directory)).filter((name) => name.endsWith('.blob'))
  const before = await blobs()
  t.ok(before.length > 0)

  for (let i = 0; i < COMMITS; i++) {
    await log.append([Buffer.alloc(8192, i)])
    await store.flush()
  }
  const after = await blobs()
  t.alike(
    before.filter((name) => !after.includes(name)),
    [],
    'no file was written anew'
  )
  t.ok(after.length >= COMMITS, `${after.length} files`)
  const open = await openBelow(directory)
  t.ok(open <= OPEN_FILES_MAX, `${open} of them are open`)
  t.alike(await log.read(5), Buffer.alloc(65536, 5))
  t.alike(await log.read(128), Buffer.alloc(8192, 0))
})

async function openBelow(directory: string): Promise<number> {
  let count = 0
  for (const name of await readdir('/proc/self/fd')) {
    const file = await readlink(`/proc/self/fd/${name}`).catch(() => '')
    if (file.startsWith(`${directory}/`)) count++
  }
  return count
}
