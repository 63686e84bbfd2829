/** Any byte of any file of a home: what is read is right, or an error says that it is not; never other data. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { once } from 'node:events'
import path from 'node:path'
import test from 'brittle'
import type { Assert } from 'brittle'
import { DamagedFiles, type Damage } from '../../helpers/damage/files.ts'
import { SampleHome, type Outcome } from '../../helpers/damage/sample-home.ts'
import { Random } from '../../helpers/random.ts'

const READER = path.join(import.meta.dirname, '../../helpers/damage/reader.js')
const LIVE = Number(process.env['HYPERPARCEL_FLIPS'] ?? 2000)
const WHOLE = Number(process.env['HYPERPARCEL_DAMAGES'] ?? 80)
const PROCESSES = 2
const random = new Random()
/** What a damaged file may say of itself. */
const CODES = new Set([
  'DATA_CORRUPT',
  'FORMAT_INVALID',
  'FORMAT_TOO_NEW',
  'KEY_DAMAGED',
  'KEY_MISSING',
  'NO_FLEET',
  'STORE_COPIED'
])

test('bytes that change below an open store', { timeout: 120_000 }, async (t) => {
  const { readings, found } = await damage(t, LIVE, 'live')
  t.is(readings, LIVE, `${LIVE} flips`)
  t.ok(found > LIVE / 3, `${found} of them were found by this reading`)
})

test('files that changed while the store was closed', { timeout: 240_000 }, async (t) => {
  const { readings } = await damage(t, WHOLE, 'whole')
  t.is(readings, WHOLE, `${WHOLE} flips, truncations and deletions`)
})

interface Tally {
  readings: number
  /** Readings that ended with an error. */
  found: number
  /** By file, damage and result. */
  counts: Map<string, number>
  bad: string[]
}

async function damage(t: Assert, count: number, mode: 'live' | 'whole'): Promise<Tally> {
  const tally: Tally = { readings: 0, found: 0, counts: new Map(), bad: [] }
  t.comment(`seed ${random.seed}`)
  const homes = Array.from({ length: PROCESSES }, (_, i) =>
    damageHome(t, tally, count / PROCESSES, mode, random.seed + i)
  )
  await Promise.all(homes)
  for (const [what, n] of [...tally.counts].sort(byName)) t.comment(`${n} × ${what}`)
  t.alike(tally.bad, [])
  return tally
}

/** Damages a home of its own `count` times, in as many processes as that takes. */
async function damageHome(
  t: Assert,
  tally: Tally,
  count: number,
  mode: 'live' | 'whole',
  seed: number
): Promise<void> {
  const directory = path.join(await t.tmp(), 'home')
  const home = new SampleHome(directory, seed)
  await home.create()
  const files = new DamagedFiles(directory)
  await files.remember()
  t.alike(await home.openAndRead(), { wrong: [], codes: [], shut: false }, 'without damage')
  await files.restore()
  let left = count
  for (let child = 1; left > 0 && tally.bad.length < 20; child++) {
    const args = [directory, seed, seed * 1000 + child, left, mode].map(String)
    let damaged: Damage | null = null
    const ended = await lines([READER, ...args], (line) => {
      if ('damage' in line) damaged = line.damage as Damage
      if ('whole' in line && (line.whole as Outcome).wrong.length > 0) tally.bad.push('restored')
      if (!('outcome' in line)) return
      note(tally, damaged!, line.outcome as Outcome)
      damaged = null
      left--
    })
    // One with a stuck thread kills itself, after it told what it found.
    if (ended !== '0' && (ended !== 'SIGKILL' || damaged !== null)) {
      tally.bad.push(`${JSON.stringify(damaged)}: the process ended: ${ended}`)
      left--
    }
    await files.restore()
  }
}

function note(tally: Tally, damaged: Damage, { wrong, codes }: Outcome): void {
  tally.readings++
  if (codes.length > 0) tally.found++
  const result = wrong.length > 0 ? 'WRONG' : codes.length === 0 ? 'right' : codes.join(' ')
  const name = path.basename(damaged.file).replace(/[0-9a-f]{64}|\d{6}/, 'N')
  const what = `${name} ${damaged.kind}: ${result}`
  tally.counts.set(what, (tally.counts.get(what) ?? 0) + 1)
  if (wrong.length > 0 || codes.some((code) => !CODES.has(code))) {
    tally.bad.push(`${JSON.stringify(damaged)}: ${[...wrong, ...codes].join(', ')}`)
  }
}

const byName = ([a]: [string, number], [b]: [string, number]) => (a < b ? -1 : 1)

/** Runs a program that prints JSON lines; resolves with how it ended. */
async function lines(
  args: string[],
  online: (line: Record<string, unknown>) => void
): Promise<string> {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  createInterface({ input: child.stdout }).on('line', (line) => {
    online(JSON.parse(line) as Record<string, unknown>)
  })
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
  return signal ?? String(code)
}
