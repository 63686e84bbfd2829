/** Versions of a parcel `work` with one disk of random data, made without a VM, and what is stored of them. */
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import type { Device, Fleet } from './devices.ts'
import { rawImage, sha256, tool } from './images.ts'
import { Random } from './random.ts'

export const DISK_BYTES = 32 * 1024 ** 2
export const random = new Random()

/** Version 1, new all over; the hash of the disk. */
export async function create(
  fleet: Fleet,
  device: Device,
  diskBytes = DISK_BYTES
): Promise<string> {
  const file = await rawImage(path.join(fleet.directory, 'disk.img'), diskBytes, [
    { offset: 0, data: random.bytes(diskBytes) }
  ])
  await device.create('work', ['--disk', file, '--memory', '64M'])
  return sha256(file)
}

/** A new version, with new data there; the hash of the disk then. */
export function write(
  fleet: Fleet,
  device: Device,
  offset: number,
  bytes: number
): Promise<string> {
  return writeAt(fleet, device, [offset], bytes)
}

export async function writeAt(
  fleet: Fleet,
  device: Device,
  offsets: number[],
  bytes: number
): Promise<string> {
  const commands: string[] = []
  for (const [i, offset] of offsets.entries()) {
    const data = path.join(fleet.directory, `data${i}`)
    await writeFile(data, random.bytes(bytes))
    commands.push('-c', `write -s ${data} ${offset} ${bytes}`)
  }
  const serving = device.start(['serve', 'work', '--writable'])
  const { volumes } = (await serving.first()) as { volumes: { disk0: string } }
  await promisify(execFile)('qemu-io', ['-f', 'raw', ...commands, volumes.disk0])
  const file = path.join(fleet.directory, 'written')
  await tool('nbdcopy', volumes.disk0, file)
  const { code, stderr } = await serving.interrupt()
  if (code !== 0) throw new Error(`serve ended with ${code}: ${stderr}`)
  return sha256(file)
}

export async function exported(
  fleet: Fleet,
  device: Device,
  name: string,
  more: string[] = []
): Promise<string> {
  const out = path.join(fleet.directory, `out-${device.name}`)
  await device.ok(['export', name, out, ...more])
  return sha256(out)
}

export async function diskUsage(device: Device): Promise<number> {
  return Number((await tool('du', '-s', '-B1', path.join(device.home, 'store'))).split('\t')[0])
}
