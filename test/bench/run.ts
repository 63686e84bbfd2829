/**
 * `npm run bench -- SUITE… [--json] [--large] [--quick]`
 *
 * Prints the peer's figure, ours and the ratio of each row; greater than 1 means that we are better.
 * With `--json` one object a suite on stdout: `{"suite", "rows": [{name, ours, peer, peer_name, unit, ratio}]}`.
 */
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { renderRows, type BenchSuite } from './framework.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    large: { type: 'boolean', default: false },
    quick: { type: 'boolean', default: false }
  }
})

const suites = await findSuites()
const unknown = positionals.filter((name) => !suites.has(name))
if (positionals.length === 0 || unknown.length > 0) {
  if (unknown.length > 0) console.error(`There is no suite ${unknown.join(', ')}`)
  console.error(`usage: npm run bench -- SUITE… [--json] [--large]`)
  console.error(`suites: ${[...suites.keys()].join(', ')}`)
  process.exit(2)
}

for (const name of positionals) {
  const rows = await suites.get(name)!({
    quick: values.quick,
    large: values.large,
    log: (line) => console.error(line)
  })
  if (values.json) console.log(JSON.stringify({ suite: name, rows }))
  else console.log(`${name}\n${renderRows(rows)}`)
}

/** Files beside this one that export `run`. */
async function findSuites(): Promise<Map<string, BenchSuite>> {
  const found = new Map<string, BenchSuite>()
  const files = readdirSync(import.meta.dirname).filter((file) => /^[a-z-]+\.js$/.test(file))
  for (const file of files.sort()) {
    if (['run.js', 'framework.js'].includes(file)) continue
    const module = (await import(pathToFileURL(path.join(import.meta.dirname, file)).href)) as {
      run?: BenchSuite
    }
    if (module.run !== undefined) found.set(path.basename(file, '.js'), module.run)
  }
  return found
}
