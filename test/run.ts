/**
 * `npm test [-- FILTER… ] [--jobs N] [--timeout SECONDS] [--list]`
 *
 * Runs every test file in a process of its own, side by side but for those that measure, and ends with one line
 * `N passed, N failed`. Counted are tests, not assertions. A file that crashes, hangs, or ends early counts as one
 * failure.
 *
 * Whole devices and races share two cores with other tests: up to three files that failed run once more when nothing
 * else does, and only that run counts. Both are shown, and the last lines name them as unsteady.
 */
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { endGroup, runFile, type FileResult } from './helpers/run-file.ts'

const ROOT = import.meta.dirname
/** They compare times or memory, or say how long something took. They come first: one of them builds the test guest. */
const ALONE = ['e2e/bench-', 'e2e/demo', 'e2e/lab', 'e2e/memory', 'e2e/soak', 'e2e/vmm']
/** Whole devices: more of them at once only wait for each other. */
const WHOLE = 'e2e/'
const WHOLE_JOBS = 2
const FILE_TIMEOUT_SECONDS = 600
/** More that failed are not a matter of load. */
const SECOND_RUNS_MAX = 3

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    jobs: { type: 'string', default: String(Math.min(4, availableParallelism())) },
    timeout: { type: 'string', default: String(FILE_TIMEOUT_SECONDS) },
    list: { type: 'boolean', default: false }
  }
})

const files = await findTests(positionals)
if (values.list) {
  for (const file of files) console.log(file)
  process.exit(0)
}

const totals = { passed: 0, failed: 0, skipped: 0 }
const failedFiles: string[] = []
/** Failed beside others, passed alone. */
const unsteady: string[] = []
const failures = new Map<string, FileResult>()
const timeoutMs = Number(values.timeout) * 1000

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    endGroup()
    console.log(`interrupted by ${signal}`)
    finish(130)
  })
}

const jobs = Math.max(1, Number(values.jobs))
const whole = files.filter((file) => file.startsWith(WHOLE))
await runAll(
  files.filter((file) => !whole.includes(file)),
  jobs
)
await runAll(whole.filter(isAlone), 1)
await runAll(
  whole.filter((file) => !isAlone(file)),
  Math.min(jobs, WHOLE_JOBS)
)
await runFailedAgain()
finish(totals.failed > 0 || totals.passed === 0 ? 1 : 0)

async function findTests(filters: string[]): Promise<string[]> {
  const entries = await readdir(ROOT, { recursive: true })
  const tests = entries.filter((name) => name.endsWith('.test.js') && !isStale(name)).sort()
  if (filters.length === 0) return tests
  return tests.filter((name) => filters.some((f) => name.includes(f.replace(/^test\//, ''))))
}

/** Built from a source that is gone. */
function isStale(name: string): boolean {
  const sources = path.resolve(ROOT, '../../test')
  return existsSync(sources) && !existsSync(path.join(sources, name.replace(/\.js$/, '.ts')))
}

function isAlone(file: string): boolean {
  return ALONE.some((name) => file.startsWith(name))
}

async function runAll(queue: string[], jobs: number): Promise<void> {
  let next = 0
  const worker = async () => {
    while (next < queue.length) {
      const file = queue[next++]
      report(file, await runFile(path.join(ROOT, file), timeoutMs))
    }
  }
  await Promise.all(Array.from({ length: jobs }, worker))
}

async function runFailedAgain(): Promise<void> {
  const files = [...failures.keys()]
  if (files.length > SECOND_RUNS_MAX) return
  for (const file of files) {
    const first = failures.get(file)!
    totals.passed -= first.passed
    totals.failed -= first.failed
    totals.skipped -= first.skipped.length
    failedFiles.splice(failedFiles.indexOf(nameOf(file)), 1)
    console.log(`once more, alone: ${nameOf(file)}`)
    const second = await runFile(path.join(ROOT, file), timeoutMs)
    report(file, second)
    if (second.failed === 0) unsteady.push(nameOf(file))
  }
}

function nameOf(file: string): string {
  return file.replace(/\.test\.js$/, '')
}

function report(file: string, result: FileResult): void {
  totals.passed += result.passed
  totals.failed += result.failed
  totals.skipped += result.skipped.length
  const seconds = (result.durationMs / 1000).toFixed(1)
  const name = nameOf(file)
  if (result.failed > 0) {
    failures.set(file, result)
    failedFiles.push(name)
    console.log(`FAIL ${name} (${seconds} s)`)
    console.log(result.output.replace(/^(?=.)/gm, '  | '))
    for (const reason of result.reasons) console.log(`  ${reason}`)
  } else {
    console.log(`ok   ${name}: ${result.passed} passed (${seconds} s)`)
  }
  for (const skip of result.skipped) console.log(`  skipped "${skip.name}": ${skip.reason}`)
  for (const left of result.leftBehind) console.log(`  left behind and ended: ${left}`)
}

function finish(code: number): never {
  if (failedFiles.length > 0) console.log(`\nfailed: ${failedFiles.join(' ')}`)
  if (unsteady.length > 0) console.log(`\nunsteady, passed alone only: ${unsteady.join(' ')}`)
  if (totals.passed + totals.failed === 0) console.log('\nno test ran')
  const skipped = totals.skipped > 0 ? `, ${totals.skipped} skipped` : ''
  console.log(`\n${totals.passed} passed, ${totals.failed} failed${skipped}`)
  process.exit(code)
}
