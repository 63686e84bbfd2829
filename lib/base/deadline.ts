/**
 * Runs `work` with a signal that aborts after that many milliseconds, or with `parent`. Never put `AbortSignal.timeout`
 * into `AbortSignal.any`: Node 20 collects it, and it does not fire.
 * @param reason what it aborts with, made when that happens
 */
export async function withDeadline<T>(
  ms: number,
  parent: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
  reason?: () => Error
): Promise<T> {
  const deadline = new AbortController()
  const timer = setTimeout(() => deadline.abort(reason?.()), ms)
  const signal = parent === undefined ? deadline.signal : AbortSignal.any([deadline.signal, parent])
  try {
    return await work(signal)
  } finally {
    clearTimeout(timer)
  }
}
