/**
 * Where tests end the process as SIGKILL does, between steps of which each must leave everything right:
 * HYPERPARCEL_TEST_KILL_AT=cleared:2 when it passes that point for the second time.
 */
export const FAULT_POINTS = [
  /** prune, evict: it is decided which blocks go. */
  'decided',
  /** The dedup index knows a run of blocks no more. */
  'forgotten',
  /** A run of blocks is deleted. */
  'cleared',
  /** All of them are, durably. */
  'swept',
  /** Before each step that gives space back to the disk. */
  'compacting'
] as const

export type FaultPoint = (typeof FAULT_POINTS)[number]

const [name, count = '1'] = (process.env['HYPERPARCEL_TEST_KILL_AT'] ?? '').split(':')
let passed = 0

export function faultPoint(point: FaultPoint): void {
  if (point === name && ++passed === Number(count)) process.kill(process.pid, 'SIGKILL')
}
