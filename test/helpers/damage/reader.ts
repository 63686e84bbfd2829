/**
 * `reader.js DIRECTORY SEED COUNT whole|live`: damages one file of that sample home COUNT times, each time from the
 * whole one, and reads. `whole` opens everything anew each time; `live` flips bytes below what is open. A process of its
 * own, because a database may end it, and keeps its locks where it could not be opened: then it ends by itself. Prints
 * a line before and after each, so that whoever started it knows what it was at.
 */
import { exit } from '../../../lib/base/exit.ts'
import { Random } from '../random.ts'
import { DamagedFiles, type Damage, type DamageKind } from './files.ts'
import { SampleHome, type Outcome } from './sample-home.ts'

const HANG_MS = 10_000
/** Their content is read from the disk whenever it is needed. */
const READ_LIVE = /\.blob$|\.ids1$|\.overlay$/

const [directory, homeSeed, seed, count, mode] = process.argv.slice(2)
const random = new Random(Number(seed))
const home = new SampleHome(directory, Number(homeSeed))
const files = new DamagedFiles(directory)
await home.load()
await files.remember()
if (mode === 'live') {
  await home.open()
  const among = files.names.filter((name) => READ_LIVE.test(name))
  for (let i = 0; i < Number(count); i++) {
    const damage = files.choose(random, 'flip', among)
    await damaged(damage, () => home.readAgain())
    await files.unflip(damage)
  }
  // The test tests itself: without damage everything is right, and stays so.
  say({ whole: await home.readAgain() })
  await home.close()
} else {
  for (let i = 0; i < Number(count); i++) {
    const kind: DamageKind = random.pick(['flip', 'flip', 'flip', 'truncate', 'delete'])
    // Without an overlay there are no changes: that a file is missing is for nobody to see.
    const among = files.names.filter((name) => kind !== 'delete' || !name.endsWith('.overlay'))
    const { shut } = await damaged(files.choose(random, kind, among), () => home.openAndRead())
    if (shut) exit(0)
    await files.restore()
  }
}
exit(0)

async function damaged(damage: Damage, read: () => Promise<Outcome>): Promise<Outcome> {
  say({ damage })
  await files.apply(damage, random)
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(resolve, HANG_MS, null)
  })
  const outcome = await Promise.race([read(), late])
  clearTimeout(timer)
  say({ outcome: outcome ?? { wrong: [], codes: ['hangs'] } })
  if (outcome === null) exit(0)
  return outcome
}

function say(what: unknown): void {
  process.stdout.write(`${JSON.stringify(what)}\n`)
}
