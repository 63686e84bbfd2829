/** Where progress goes: a line on a terminal, JSON lines, a line for each long phase, or nowhere. All show one model. */
import type { Progress } from '../../base/progress.ts'

export interface Renderer {
  progress(progress: Progress): void
  /** Takes the line away, so that something else can be printed. The next progress draws it again. */
  clear(): void
}

export interface Output {
  write(data: string | Uint8Array): unknown
  isTTY?: boolean
  columns?: number
}

export const quietRenderer: Renderer = { progress() {}, clear() {} }
