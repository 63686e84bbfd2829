/** Says what is going on for as long as it takes: a terminal shows it once it takes long. */
import type { UseCaseContext } from './context.ts'

const REPEAT_MS = 1000

export async function sayWhile<T>(
  { progress }: Pick<UseCaseContext, 'progress'>,
  phase: string,
  peers: string[],
  work: () => Promise<T>
): Promise<T> {
  const say = () => progress({ phase, peers })
  say()
  const timer = setInterval(say, REPEAT_MS)
  try {
    return await work()
  } finally {
    clearInterval(timer)
  }
}
