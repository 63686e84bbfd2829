/** One line, drawn over itself: `fetching memory  12.3 MiB of 40.0 MiB  31%  8.1 MiB/s  3.4 s left  (office)`. */
import type { Clock } from '../../base/clock.ts'
import type { Progress } from '../../base/progress.ts'
import { formatBytes, formatDuration, printable } from './format.ts'
import { ProgressMeter, type ProgressView } from './meter.ts'
import type { Output, Renderer } from './renderer.ts'
import { sharesText } from './shares.ts'

const FRAME_MS = 100
const CLEAR_LINE = '\r\u001b[K'

export class TerminalRenderer implements Renderer {
  readonly #output: Output
  readonly #clock: Clock
  readonly #meter: ProgressMeter
  #phase: string | null = null
  #drawnAt = 0
  #drawn = false

  constructor(output: Output, clock: Clock) {
    this.#output = output
    this.#clock = clock
    this.#meter = new ProgressMeter(clock)
  }

  progress(progress: Progress): void {
    const view = this.#meter.update(progress)
    const now = this.#clock.monotonic()
    const finished = view.total !== undefined && view.done === view.total
    if (view.phase === this.#phase && now - this.#drawnAt < FRAME_MS && !finished) return
    this.#phase = view.phase
    this.#drawnAt = now
    this.#drawn = true
    this.#output.write(CLEAR_LINE + fit(progressLine(view), this.#output.columns || 80))
  }

  clear(): void {
    if (this.#drawn) this.#output.write(CLEAR_LINE)
    this.#drawn = false
    this.#phase = null
  }
}

export function progressLine(view: ProgressView): string {
  const amount = (n: number) => (view.unit === 'items' ? String(n) : formatBytes(n))
  const parts = [printable(view.phase)]
  if (view.done !== undefined) {
    const known = view.total !== undefined
    parts.push(known ? `${amount(view.done)} of ${amount(view.total!)}` : amount(view.done))
    if (known && view.total! > 0) parts.push(`${Math.floor((view.done / view.total!) * 100)}%`)
    if (view.rate !== null && view.unit !== 'items') parts.push(`${formatBytes(view.rate)}/s`)
    if (view.etaMs !== null && view.etaMs > 0) parts.push(`${formatDuration(view.etaMs)} left`)
  } else if (view.elapsedMs >= 1000) {
    parts.push(formatDuration(view.elapsedMs))
  }
  if (view.sources !== undefined && view.sources.length > 0) {
    parts.push(`from ${sharesText(view.sources)}`)
  } else if (view.peers !== undefined && view.peers.length > 0) {
    parts.push(`(${printable(view.peers.join(', '))})`)
  }
  return parts.join('  ')
}

/** A line that wraps cannot be drawn over. */
function fit(line: string, columns: number): string {
  return line.length < columns ? line : `${line.slice(0, Math.max(0, columns - 2))}…`
}
