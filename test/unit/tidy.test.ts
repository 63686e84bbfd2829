/** Rules of style that a reader would otherwise have to check by eye. */
import test from 'brittle'
import { EXIT_MEANINGS } from '../../lib/cli/exit-help.ts'
import { COMMANDS, LATER } from '../../lib/cli/commands/index.ts'
import { readSources } from '../helpers/sources.ts'

const LINES_MAX = 400
const LINES_WISHED = 200

/** Longer ones, with the reason; an entry that is not needed any more fails. */
const LONG_FILES: Record<string, string> = {
  'lib/volume/overlay.ts': 'one log with its recovery and its rules on space: to be cut'
}

const code = readSources(['bin', 'lib', 'test', 'examples'], ['.ts', '.mjs'])
const library = code.filter((file) => file.name.startsWith('lib/'))
const documents = readSources(['lib', 'README.md'], ['.md'])

test('files are short', (t) => {
  const long = code.filter((file) => file.lines.length > LINES_MAX).map((file) => file.name)
  t.alike(long, Object.keys(LONG_FILES).sort(), `at most ${LINES_MAX} lines`)
  for (const file of library.filter((f) => f.lines.length > LINES_WISHED)) {
    t.comment(`${file.name} has ${file.lines.length} lines`)
  }
})

test('only the user interface prints', (t) => {
  const may = /^(lib\/cli\/ui|test|examples|bin)\//
  t.alike(
    matches(/\bconsole\.(log|error|warn|info|debug)\b/, (name) => !may.test(name)),
    []
  )
})

test('errors carry a code', (t) => {
  const may = (name: string) => name.startsWith('lib/') && name !== 'lib/base/errors.ts'
  t.alike(matches(/\b(new|throw) (Type|Range)?Error\(/, may), [])
})

test('nothing is left to be done in comments, and nothing names a place outside the project', (t) => {
  const self = (name: string) => name !== 'test/unit/tidy.test.ts'
  const words = [
    /(\/\/|^\s*\/?\*+|<!--)\s*(TODO|FIXME|XXX|HACK)\b/,
    /(^|[\s'"`(])\/work\//,
    /\b(mission|design|facts|style|cli|brief)\.md\b/,
    /\b(sub-?agents?|co-authored-by|LLM|the lead|my brief)\b/i
  ]
  for (const word of words) t.alike(matches(word, self), [], String(word))
})

test('the README has the exit codes of --help', (t) => {
  const rows = tableRows().filter((cells) => /^\d+$/.test(cells[0]))
  t.alike(
    rows.map(([exit, meaning]) => [Number(exit), meaning]),
    EXIT_MEANINGS
  )
})

test('the README has every command, and none that is missing', (t) => {
  const named = tableRows().flatMap(([first]) =>
    [...first.matchAll(/`([a-z]+)[^`]*`/g)].map((match) => match[1])
  )
  for (const { usage } of COMMANDS) t.ok(named.includes(usage.split(' ')[0]), usage)
  for (const name of LATER) t.absent(named.includes(name), name)
})

test('the README says why, for every dependency', (t) => {
  const named = tableRows().flatMap(([first]) => first.split(/,\s*/))
  const { dependencies } = JSON.parse(readSources(['package.json'])[0].text) as {
    dependencies: Record<string, string>
  }
  for (const name of Object.keys(dependencies)) t.ok(named.includes(name), name)
})

/** Cells of all tables of the README. */
function tableRows(): string[][] {
  const readme = documents.find((file) => file.name === 'README.md')!
  return readme.lines
    .filter((line) => line.startsWith('| '))
    .map((line) => line.replaceAll('\\|', '/').split('|').slice(1, -1))
    .map((cells) => cells.map((cell) => cell.trim()))
}

function matches(pattern: RegExp, applies: (name: string) => boolean): string[] {
  return [...code, ...documents]
    .filter((file) => applies(file.name))
    .flatMap((file) =>
      file.lines.flatMap((line, i) =>
        pattern.test(line) ? [`${file.name}:${i + 1} ${line.trim()}`] : []
      )
    )
}
