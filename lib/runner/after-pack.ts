/** What a VM that was just resumed does when its resume pack has come. */
import { setTimeout as sleep } from 'node:timers/promises'
import safetyCatch from 'safety-catch'
import type { Vm } from '../vmm/driver.ts'
import type { Context } from './context.ts'

/** While a pack comes, a fault asks for the one page that it has, not for neighbours that it may lack. */
export const PACK_READ_AHEAD_KB = 4
/** So long after its start what a resumed VM touches is noted, for the pack of the next version. */
const TRACE_MS = 20_000
/** However slowly the pack comes, nothing waits longer for it. */
const PACK_MS_MAX = 60_000

/** Resolves when what can wait for the pack may be done. Never rejects. */
export async function afterPack({ pack, trace }: Context, vm: Vm): Promise<void> {
  if (trace !== null) trace.readAround = !vm.readAheadSet
  setTimeout(() => trace?.end(), TRACE_MS).unref()
  if (pack === null) return
  await Promise.race([pack.done, sleep(PACK_MS_MAX, undefined, { ref: false })])
  await vm.setReadAhead(null).catch(safetyCatch) // it may be gone
}
