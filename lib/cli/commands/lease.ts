import type { CliCommand } from '../command.ts'

export const lease: CliCommand = {
  usage: 'lease <name>',
  summary: 'show which device may write a parcel',
  example: 'hyperparcel lease work',
  async run(context, [name]) {
    const result = await context.request('lease', { name })
    const { parcel, holder, epoch, state } = result
    const text = {
      free: `No device holds the lease of ${parcel} (epoch ${epoch}): the next resume takes it.`,
      held: `${holder} holds the lease of ${parcel} (epoch ${epoch}).`,
      granted: `The lease of ${parcel} is granted to ${holder} (epoch ${epoch}), which has not used it yet.`
    }[state]
    return { json: result, text }
  }
}
