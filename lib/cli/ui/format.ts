/** Numbers, times and tables for people. Pure. */

export { formatBytes } from '../../base/format-bytes.ts'

/** 850 → `0.85 s`, 4200 → `4.2 s`, 75000 → `1 min 15 s`. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 995) return `${(durationMs / 1000).toFixed(2)} s`
  if (durationMs < 9_950) return `${(durationMs / 1000).toFixed(1)} s`
  const seconds = Math.round(durationMs / 1000)
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min${seconds % 60 > 0 ? ` ${seconds % 60} s` : ''}`
  const hours = Math.floor(minutes / 60)
  if (hours < 48) return `${hours} h${minutes % 60 > 0 ? ` ${minutes % 60} min` : ''}`
  return `${Math.floor(hours / 24)} days`
}

/** `1 block`, `3 blocks`. */
export function count(n: number, word: string): string {
  return `${n} ${word}${n === 1 ? '' : 's'}`
}

/** Keys are told apart by their first digits; `--json` has all. */
export function shortKey(hex: string): string {
  return hex.slice(0, 8)
}

/** How long ago an ISO time was: `just now`, `5 min ago`, `3 days ago`. `-` for null or nonsense. */
export function formatAge(time: string | null, now: number): string {
  const ageMs = time === null ? NaN : now - Date.parse(time)
  if (Number.isNaN(ageMs)) return '-'
  const seconds = ageMs / 1000
  if (seconds < 10) return 'just now'
  if (seconds < 60) return `${Math.floor(seconds)} s ago`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`
  const days = Math.floor(seconds / 86_400)
  return `${days} ${days === 1 ? 'day' : 'days'} ago`
}

export type Cell = string | number

/** Columns by the widest cell, two spaces between; numbers to the right. The last column is not padded. */
export function formatTable(head: string[], rows: Cell[][]): string {
  const right = head.map((_, c) => rows.length > 0 && rows.every((r) => typeof r[c] === 'number'))
  const lines = [head, ...rows.map((row) => row.map((cell) => printable(String(cell))))]
  const widths = head.map((_, c) => Math.max(...lines.map((line) => line[c].length)))
  const pad = (cell: string, c: number) =>
    right[c] ? cell.padStart(widths[c]) : cell.padEnd(widths[c])
  return lines.map((line) => line.map(pad).join('  ').trimEnd()).join('\n')
}

/** `label: value` lines with the values below each other; null values are left out. */
export function formatFields(fields: [string, string | number | null][]): string {
  const shown = fields.filter(([, value]) => value !== null)
  const width = Math.max(0, ...shown.map(([label]) => label.length))
  return shown
    .map(([label, value]) => `${`${label}:`.padEnd(width + 2)}${printable(String(value))}`)
    .join('\n')
}

/** Control characters, and marks that turn the direction of text around. */
const STEERING = /[\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu

/** Names come from other devices: nothing in them may steer the terminal. */
export function printable(text: string): string {
  return text.replace(STEERING, '\ufffd')
}
