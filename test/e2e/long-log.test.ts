/**
 * Years of use: 1,000 versions in a log of ten million blocks, of which pruning left some here and there. Nothing that
 * looks at it may take time or memory for each of them. The limits are far above what a quiet machine needs (some
 * 0.2 s a command, of which Node's start is most).
 */
import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import test, { type Assert } from 'brittle'
import { Fleet, type Device, type Json } from '../helpers/devices.ts'
import { PROGRAM } from '../helpers/cli.ts'
import { rawImage, sameImage } from '../helpers/images.ts'
import { lengthenLog } from '../helpers/long-log.ts'
import { addVersions } from '../helpers/many-versions.ts'
import { memoryBytes } from '../helpers/memory.ts'
import { Random } from '../helpers/random.ts'
import { need } from '../helpers/requirements.ts'

const MIB = 1024 ** 2
const VERSIONS = 1000
const BLOCKS = 10_000_000
/** By one leaf of the map each. */
const CHUNKS = 2048
const LOOK_MS_MAX = 2000
const START_MS_MAX = 4000
const MORE_BYTES_MAX = 100 * MIB

test('a parcel with years behind it opens at once', { timeout: 120_000 }, async (t) => {
  if (!need(t, 'qemu', 'qemu-tools')) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  const random = new Random()
  const places = Array.from({ length: CHUNKS }, (_, i) => {
    return { offset: i * 4 * MIB, data: random.bytes(4096) }
  })
  const file = await rawImage(path.join(fleet.directory, 'disk'), CHUNKS * 4 * MIB, places)
  await home.create('disk', ['--disk', file, '--memory', '64M'])
  await home.ok(['daemon', 'stop'])
  const young = await look(t, home, 'start', ['ls'])
  const youngBytes = memoryBytes(home.processes('daemon')[0])
  await home.ok(['daemon', 'stop'])

  const { store, purpose } = await addVersions(home.home, 'disk', VERSIONS - 1)
  // 64 blocks of each 4096 are left.
  const page = Buffer.alloc(4096)
  for (let at = 0; at < page.length; at += 512) page.fill(0xff, at, at + 8)
  await lengthenLog({ directory: store, purpose, length: BLOCKS, page })

  const old = await look(t, home, 'start', ['ls'])
  t.ok(old.ms < START_MS_MAX, `a daemon starts (${young.ms} ms with one version)`)
  for (const args of [['show', 'disk'], ['log', 'disk'], ['stats', 'disk'], ['status']]) {
    t.ok((await look(t, home, args[0], args)).ms < LOOK_MS_MAX, args[0])
  }
  const { parcel } = (await home.ok(['show', 'disk'])) as { parcel: Json }
  t.is(parcel['versions'], VERSIONS)
  t.is(parcel['bytes_local'], CHUNKS * 4096)
  const { versions } = await slowly(['--home', home.home, '--json', 'log', 'disk'])
  t.is(versions.length, VERSIONS, 'a reader that takes its time gets all of the answer')
  t.ok(versions.every(({ bytes_local }) => bytes_local === CHUNKS * 4096))
  t.alike(
    versions.map(({ parent }) => parent),
    versions.map((_, i) => i || null)
  )

  const bytes = memoryBytes(home.processes('daemon')[0])
  t.comment(`daemon ${Math.round(bytes / MIB)} MiB, young ${Math.round(youngBytes / MIB)} MiB`)
  t.ok(bytes - youngBytes < MORE_BYTES_MAX, 'memory')
  const made = await look(t, home, 'rollback', ['rollback', 'disk', '1'])
  t.is(made.json['version'], VERSIONS + 1, 'the log goes on')
  t.ok(made.ms < LOOK_MS_MAX, 'rollback')
  const out = path.join(fleet.directory, 'out')
  const exported = await look(t, home, 'export', ['export', 'disk', out])
  t.is(exported.json['bytes'], CHUNKS * 4 * MIB)
  const again = await home.ok(['verify', 'disk', '--version', '1'])
  t.is(again['bad'], 0)
  t.ok(await sameImage(out, file))
})

async function look(
  t: Assert,
  home: Device,
  name: string,
  args: string[]
): Promise<{ ms: number; json: Json }> {
  const start = performance.now()
  const json = await home.ok(args)
  const ms = Math.round(performance.now() - start)
  t.comment(`${name}: ${ms} ms`)
  return { ms, json }
}

/** Through a pipe whose reader begins late. */
async function slowly(args: string[]): Promise<{ versions: Json[] }> {
  const script = '"$0" "$@" | { sleep 2; cat; }'
  const command = ['-c', script, process.execPath, PROGRAM, ...args]
  const { stdout } = await promisify(execFile)('sh', command, { maxBuffer: 64 * MIB })
  return JSON.parse(stdout) as { versions: Json[] }
}
