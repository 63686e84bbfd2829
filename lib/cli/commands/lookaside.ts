import path from 'node:path'
import type { LookasideRow } from '../../daemon/api-lookaside.ts'
import type { CliCommand } from '../command.ts'
import { formatBytes, formatTable } from '../ui/format.ts'

const add: CliCommand = {
  usage: 'add <path>',
  summary: 'use a stick, an image, or a directory of files that lies nearby',
  details:
    'The path is remembered: what is unplugged is used again when it is back. Sticks that a desktop mounts below /media or /run/media are used without this. Whatever is on it is verified; a stale, wrong or broken one costs time only. A raw or qcow2 image, or any directory, is indexed first, once; chunks of 4 KiB in it that a parcel needs are read there instead of being fetched. Add it again when it has changed. Compressed qcow2 images have nothing to offer: convert them with `qemu-img convert`.',
  example: 'hyperparcel lookaside add ~/images/debian-12.raw',
  async run(context, [named]) {
    const row = await context.request('lookaside.add', { path: absolute(context.io.cwd, named) })
    return { json: row, text: describe(row) }
  }
}

const fill: CliCommand = {
  usage: 'fill <path> <name>',
  summary: "copy a parcel's newest version to a stick, sealed",
  details:
    'The copy holds all that a resume needs, also with nobody online, and no key: only devices of the fleet can use it. Filled again, a stick gets what is new and loses what is not needed. A fill that was interrupted goes on where it was.',
  example: 'hyperparcel lookaside fill /media/stick work',
  async run(context, [named, name]) {
    const at = absolute(context.io.cwd, named)
    const result = await context.request('lookaside.fill', { path: at, name })
    const text = `${at} holds version ${result.version} of ${result.parcel}: ${formatBytes(result.bytes)}, ${formatBytes(result.bytes_written)} of it written now.`
    return { json: result, text }
  }
}

const ls: CliCommand = {
  usage: 'ls',
  summary: 'what lies nearby, and how much of it was used',
  details: 'USED: since this daemon started.',
  example: 'hyperparcel lookaside ls',
  async run(context) {
    const result = await context.request('lookaside.ls', {})
    const rows = result.lookaside.map((row) => [
      row.path,
      row.kind ?? '-',
      row.state,
      row.parcels.map(({ parcel, version }) => `${parcel} ${version}`).join(', ') || '-',
      formatBytes(row.bytes),
      formatBytes(row.bytes_used),
      row.note ?? ''
    ])
    const head = ['PATH', 'KIND', 'STATE', 'HOLDS', 'SIZE', 'USED', '']
    const text = rows.length === 0 ? 'Nothing.' : formatTable(head, rows)
    return { json: result, text }
  }
}

const remove: CliCommand = {
  usage: 'remove <path>',
  summary: 'do not use it any more; nothing on it changes',
  example: 'hyperparcel lookaside remove /mnt/stick',
  async run(context, [named]) {
    const row = await context.request('lookaside.remove', { path: absolute(context.io.cwd, named) })
    return { json: row, text: `${row.path} is not used any more.` }
  }
}

export const lookaside: CliCommand = {
  usage: 'lookaside',
  summary: 'sticks, images and directories as sources of data',
  example: 'hyperparcel lookaside fill /media/stick work',
  subcommands: [add, fill, ls, remove]
}

function absolute(cwd: string, named: string): string {
  return path.resolve(cwd, named)
}

function describe({ path: at, kind, parcels, bytes, note }: LookasideRow): string {
  if (kind === 'image' || kind === 'directory') return `${at} is indexed and used.`
  const holds = parcels.map(({ parcel, version }) => `version ${version} of ${parcel}`)
  const what = holds.length === 0 ? 'nothing that is whole' : holds.join(', ')
  return `${at} is used: ${what}, ${formatBytes(bytes)}.${note === null ? '' : ` Note: ${note}.`}`
}
