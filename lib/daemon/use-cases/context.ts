/** What a use case gets besides its parameters. */
import type { ApiEvent } from '../api.ts'

export interface UseCaseContext {
  /** Aborts when the caller's wish to end it counts (`METHODS`). */
  signal: AbortSignal
  progress(event: ApiEvent): void
  /** Runs when the client's connection closes. */
  onclose(fn: () => void): void
}
