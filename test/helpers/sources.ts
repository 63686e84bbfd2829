/** The project's own source files, for tests that read them. */
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'

/** This file runs from `dist/test/helpers`. */
export const ROOT = path.resolve(import.meta.dirname, '../../..')

export interface SourceFile {
  /** Relative to the project, for instance `lib/base/errors.ts`. */
  name: string
  text: string
  lines: string[]
}

/** Files below these folders (or these files) whose names end in one of `endings`, sorted. */
export function readSources(below: string[], endings: string[] = ['.ts']): SourceFile[] {
  const names = below.flatMap((entry) => {
    if (path.extname(entry) !== '') return [entry]
    const found = readdirSync(path.join(ROOT, entry), { recursive: true, encoding: 'utf8' })
    return found.filter((n) => endings.some((end) => n.endsWith(end))).map((n) => `${entry}/${n}`)
  })
  return names.sort().map((name) => {
    const text = readFileSync(path.join(ROOT, name), 'utf8')
    return { name, text, lines: text.trimEnd().split('\n') }
  })
}

export interface Import {
  /** As written: `../base/errors.ts`, `node:path`, `hypercore`. */
  specifier: string
  typeOnly: boolean
  /** What was bound; empty for `import()` and for side effects. */
  names: string[]
  line: number
}

const IMPORT =
  /^(?:import|export)\s+(type\s+)?((?:[\w$*]+|\{[^}]*\})(?:\s*,\s*\{[^}]*\})?(?:\s+as\s+\w+)?)\s+from\s+'([^']+)'|^import\s+'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/gm

export function importsOf(file: SourceFile): Import[] {
  return [...file.text.matchAll(IMPORT)].map((match) => {
    const bound = match[2] ?? ''
    return {
      specifier: match[3] ?? match[4] ?? match[5],
      typeOnly: match[1] !== undefined,
      names: bound
        .replace(/[{}]/g, ',')
        .split(',')
        .map((name) => name.trim())
        .filter((name) => name !== '' && !name.startsWith('type '))
        .map((name) => name.split(/\s+as\s+/).at(-1)!),
      line: file.text.slice(0, match.index).split('\n').length
    }
  })
}
