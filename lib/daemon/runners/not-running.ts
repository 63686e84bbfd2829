/** What the user is told when a parcel does not run here, or is in use here: why, and what to type. */
import { HyperparcelError } from '../../base/errors.ts'
import type { ParcelInfo } from '../../fleet/index.ts'
import type { FleetNode } from '../node.ts'
import type { Runner, RunnerPurpose } from './runners.ts'

/** `verb`: the command that needs it running. */
export function notRunning(node: FleetNode, parcel: ParcelInfo, verb: string): HyperparcelError {
  const { name } = parcel
  const runner = node.runners.get(parcel.id)
  if (runner?.purpose === 'vm') return error(`${name} ${CHANGING}`, TRY_AGAIN)
  if (runner !== null) {
    const [what, hint] = OTHER_USE[runner.purpose === 'serve' ? 'serve' : 'work']
    return error(`${name} does not run on this device: it is ${what}`, hint)
  }
  if (node.crashedNow(parcel.id)) {
    return error(
      `${name} does not run on this device: it crashed`,
      `Choose what it goes on from: the last version, \`hyperparcel resume ${name} --from-crash version\`, or the disk as it was flushed, \`hyperparcel resume ${name} --from-crash disk\`.`,
      { parcel: name, crashed: true }
    )
  }
  const decision = node.leases.mayResume(parcel.id)
  const holder = decision.ok ? null : decision.holder
  if (holder === null) {
    return error(
      `${name} does not run on this device`,
      `Start it with \`hyperparcel resume ${name}\`.`
    )
  }
  const holderName = node.registry.nameOf(holder)
  return error(
    `${name} does not run on this device: ${holderName} has its lease`,
    verb === 'discard'
      ? `Only what ran there can be discarded, there: \`hyperparcel discard ${name}\`.`
      : `Say it there: \`hyperparcel ${verb} ${name}\`. Or take it over from here, while ${holderName} is online: \`hyperparcel resume ${name} --handoff\`.`,
    { parcel: name, holder: holderName }
  )
}

/** A command cannot have the parcel; `wanted`: what it would have done with it. */
export function alreadyInUse(
  parcel: ParcelInfo,
  known: Runner | undefined,
  wanted: RunnerPurpose
): HyperparcelError {
  const { name } = parcel
  if (known?.purpose === 'vm' && known.ending) {
    return new HyperparcelError('PARCEL_RUNNING', `${name} ${CHANGING}`, { hint: TRY_AGAIN })
  }
  if (known?.purpose !== 'vm') {
    const [what, hint] = OTHER_USE[known?.purpose ?? 'work']
    return new HyperparcelError('PARCEL_RUNNING', `${name} is ${what} on this device`, { hint })
  }
  if (wanted === 'vm') {
    return new HyperparcelError('PARCEL_RUNNING', `${name} runs on this device already`, {
      hint: `Connect to it with \`hyperparcel console ${name}\`, or suspend it with \`hyperparcel suspend ${name}\`.`
    })
  }
  return new HyperparcelError('PARCEL_RUNNING', `${name} runs on this device`, {
    hint: `This needs it suspended or off: \`hyperparcel suspend ${name}\` or \`hyperparcel poweroff ${name}\` first.`
  })
}

const CHANGING = 'is just being started or stopped on this device'
const TRY_AGAIN = 'Try again in a moment.'

/** What else a parcel is in the hands of a runner, and what to do about it. */
const OTHER_USE: Readonly<Record<Exclude<RunnerPurpose, 'vm'>, [string, string]>> = {
  serve: ['being served', 'End that first: Ctrl-C where `hyperparcel serve` runs.'],
  work: ['being worked on', 'Try again when the other command is done.'],
  read: ['being exported', 'Try again when that is done.']
}

function error(message: string, hint: string, context?: Record<string, unknown>): HyperparcelError {
  return new HyperparcelError('PARCEL_NOT_RUNNING', message, { hint, context })
}
