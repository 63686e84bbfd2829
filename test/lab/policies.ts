/** How the data of a version come to the office: what is done before the resume, and how it is asked for. */
import { COMMANDS } from '../../lib/cli/commands/index.ts'

export interface Policy {
  name: string
  /** `resume --fetch`. */
  fetch: 'demand' | 'working-set' | 'all'
  /**
   * What the office has before: nothing of the parcel; a stick with all of it; all of an older version, and the newest
   * one is sent to it over the link; all of the newest, and the link is cut.
   */
  before: 'nothing' | 'stick' | 'pushed' | 'all'
  /** Why it cannot be measured, null when it can. */
  missing: string | null
}

export const POLICIES: Policy[] = [
  { name: 'demand', fetch: 'demand', before: 'nothing', missing: null },
  // After a rehearsal at home.
  { name: 'working-set', fetch: 'working-set', before: 'nothing', missing: null },
  { name: 'lookaside', fetch: 'demand', before: 'stick', missing: without('lookaside') },
  // These make versions of their own, so they come last.
  { name: 'proactive', fetch: 'all', before: 'pushed', missing: null },
  { name: 'hoarded', fetch: 'demand', before: 'all', missing: without('hoard') }
]

function without(command: string): string | null {
  const there = COMMANDS.some(({ usage }) => usage.split(' ')[0] === command)
  return there ? null : `there is no command ${command} in this version`
}

export function policyNamed(name: string): Policy {
  return POLICIES.find((policy) => policy.name === name)!
}
