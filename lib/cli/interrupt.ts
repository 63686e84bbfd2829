/** Ctrl-C: the first one cancels what is under way, the second one ends at once. SIGTERM alike. */
import { EXIT, HyperparcelError } from '../base/errors.ts'

export interface Interrupts {
  signal: AbortSignal
  close(): void
}

export function watchInterrupts(onfirst: () => void): Interrupts {
  const controller = new AbortController()
  const oninterrupt = () => {
    if (controller.signal.aborted) process.exit(EXIT.INTERRUPTED)
    onfirst()
    controller.abort(new HyperparcelError('INTERRUPTED', 'Interrupted'))
  }
  process.on('SIGINT', oninterrupt)
  process.on('SIGTERM', oninterrupt)
  return {
    signal: controller.signal,
    close() {
      process.off('SIGINT', oninterrupt)
      process.off('SIGTERM', oninterrupt)
    }
  }
}
