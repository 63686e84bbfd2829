/** One question of `doctor` and its answer. Whoever knows a part of the machine (VMM, FUSE, network) writes such checks. */
export interface Check {
  /** Short and stable, a program may look for it: `fuse`, `kvm`, `space`. */
  name: string
  /** `ok`; `slow`: works, with less; `missing`: something will not work; `unknown`: could not be found out. */
  state: 'ok' | 'slow' | 'missing' | 'unknown'
  /** What was found, one sentence without a full stop. */
  found: string
  /** What to do about it, where it is not `ok`. */
  hint?: string
}

/** Whether the machine is able: nothing is `missing`. */
export function able(checks: Check[]): boolean {
  return checks.every((check) => check.state !== 'missing')
}
