/**
 * `npm run bench -- SUITE… [--json] [--small | --large] [--rounds N] [--row NAME]…`
 *
 * Prints the peer's figure, ours and the ratio of each row; greater than 1 means that we are better.
 * With `--json` one object a suite on stdout: `{"suite", "machine", "rows": [{name, ours, peer, peer_name, unit,
 * ratio, …}]}`, the rest as in `BenchRow`.
 */
import { readdirSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import type { BenchSuite } from './framework.ts'
import { renderRows } from './render.ts'

const NOT_SUITES = ['run.js', 'framework.js', 'render.js', 'nbd-servers.js']

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    large: { type: 'boolean', default: false },
    small: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    row: { type: 'string', multiple: true, default: [] }
  }
})

const suites = await findSuites()
const unknown = positionals.filter((name) => !suites.has(name))
const rounds = values.rounds === undefined ? undefined : Number(values.rounds)
if (unknown.length > 0) usage(`There is no suite ${unknown.join(', ')}`)
if (positionals.length === 0) usage()
if (rounds !== undefined && !(Number.isInteger(rounds) && rounds > 0)) {
  usage('--rounds wants a number from 1')
}

const interrupt = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => interrupt.abort(new Error(`interrupted by ${signal}`)))
}

for (const name of positionals) {
  const rows = await suites.get(name)!({
    small: values.small,
    large: values.large,
    rounds,
    wants: (row) => values.row.length === 0 || values.row.includes(row),
    log: (line) => console.error(line),
    signal: interrupt.signal
  })
  if (values.json) console.log(JSON.stringify({ suite: name, machine: machine(), rows }))
  else console.log(`${name}\n${renderRows(rows)}`)
}

/** Files beside this one that export `run`. */
async function findSuites(): Promise<Map<string, BenchSuite>> {
  const found = new Map<string, BenchSuite>()
  const files = readdirSync(import.meta.dirname).filter((file) => /^[a-z-]+\.js$/.test(file))
  for (const file of files.sort()) {
    if (NOT_SUITES.includes(file)) continue
    const module = (await import(pathToFileURL(path.join(import.meta.dirname, file)).href)) as {
      run?: BenchSuite
    }
    if (module.run !== undefined) found.set(path.basename(file, '.js'), module.run)
  }
  return found
}

function machine() {
  return {
    cpus: os.availableParallelism(),
    cpu: os.cpus()[0]?.model.trim() ?? '',
    memory_bytes: os.totalmem(),
    kernel: os.release(),
    node: process.version,
    load: os.loadavg().map((load) => Number(load.toFixed(2)))
  }
}

function usage(problem?: string): never {
  if (problem !== undefined) console.error(problem)
  console.error(
    'usage: npm run bench -- SUITE… [--json] [--small | --large] [--rounds N] [--row NAME]…'
  )
  console.error(`suites: ${[...suites.keys()].join(', ')}`)
  process.exit(2)
}
