/**
 * Ctrl-C in a command that may be too late to be taken back: waits a little for the daemon to say how it ended, and
 * tells the user what the parcel is then.
 */
import { HyperparcelError } from '../base/errors.ts'
import type { MethodName, Params, Result } from '../daemon/api.ts'
import type { Context } from './context.ts'
import { stateText } from './state-text.ts'

/** A second Ctrl-C ends this at once. */
const SETTLE_MS = 10_000
const ASK_MS = 5000

/** As `context.request`; after a Ctrl-C it rejects with `INTERRUPTED` in any case. */
export async function settled<M extends MethodName>(
  context: Context,
  method: M,
  params: Params<M> & { name: string }
): Promise<Result<M>> {
  const { signal } = context
  const { name } = params
  const say = () => context.note('Interrupted: waiting for its end. Ctrl-C again leaves at once.')
  signal.addEventListener('abort', say, { once: true })
  let told: string | undefined
  try {
    const result = await context.request(method, params, { settleMs: SETTLE_MS })
    if (!signal.aborted) return result
  } catch (err) {
    if (!signal.aborted || (err as { code?: string }).code !== 'INTERRUPTED') throw err
    if (err === signal.reason) throw unsettled(name)
    told = (err as HyperparcelError).hint
  } finally {
    signal.removeEventListener('abort', say)
  }
  throw await interrupted(context, name, told)
}

function unsettled(name: string): HyperparcelError {
  return new HyperparcelError(
    'INTERRUPTED',
    `Interrupted; the daemon is not done with ${name} yet`,
    {
      hint: `See \`hyperparcel show ${name}\`.`
    }
  )
}

/** @param told what else the daemon says of it, as that the lease has moved */
async function interrupted(
  context: Context,
  name: string,
  told?: string
): Promise<HyperparcelError> {
  try {
    const signal = AbortSignal.timeout(ASK_MS)
    const { parcel } = await context.request('show', { name }, { signal })
    const { state } = parcel
    const runs = state === 'running' || state === 'paused'
    return new HyperparcelError('INTERRUPTED', `Interrupted: ${name} is ${stateText(parcel)} now`, {
      hint: runs
        ? `Stop it with \`hyperparcel suspend ${name}\`.`
        : (told ?? `Start it with \`hyperparcel resume ${name}\`.`),
      context: { parcel: name, state }
    })
  } catch {
    return new HyperparcelError('INTERRUPTED', 'Interrupted', {
      hint: `See \`hyperparcel show ${name}\`.`
    })
  }
}
