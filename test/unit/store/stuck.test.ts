/** A file of the database over which RocksDB runs in circles, on a thread that nobody can stop. */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { open } from 'node:fs/promises'
import path from 'node:path'
import test from 'brittle'
import { LogStore } from '../../../lib/store/log-store.ts'

const OPENER = path.join(import.meta.dirname, '../../helpers/open-store.js')
const TIMEOUT_MS = 2000
/** Of a record in RocksDB's log files: checksum, length, type. */
const TYPE_AT = 6
/** Makes a whole record one of a recycled file, which a manifest never is. */
const RECYCLED_BIT = 4

test('a database that does not open is told, and the process ends', async (t) => {
  const directory = await t.tmp()
  const store = new LogStore({ directory })
  await store.ready()
  await (await store.current('a log')).append([Buffer.from('a block')])
  await store.close()
  t.is(opening(directory).stdout, 'opened')

  const database = path.join(directory, 'cores/db')
  const manifest = readdirSync(database).find((name) => name.startsWith('MANIFEST'))!
  const file = await open(path.join(database, manifest), 'r+')
  const records = await file.readFile()
  let at = 0
  for (let i = 0; i < 3; i++) at += TYPE_AT + 1 + records.readUInt16LE(at + 4)
  await file.write(Buffer.from([records[at + TYPE_AT] ^ RECYCLED_BIT]), 0, 1, at + TYPE_AT)
  await file.close()
  const began = performance.now()
  const { stdout, signal } = opening(directory)
  t.is(stdout, 'DATA_CORRUPT')
  t.is(signal, 'SIGKILL', 'exit would wait for the thread')
  t.ok(performance.now() - began < TIMEOUT_MS + 10_000)
})

function opening(directory: string) {
  const args = [OPENER, directory, String(TIMEOUT_MS)]
  return spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 })
}
