/** create: images become version 1 of a new parcel. */
import { stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import safetyCatch from 'safety-catch'
import { HyperparcelError } from '../../base/errors.ts'
import { formatBytes } from '../../base/format-bytes.ts'
import { VOLUME_BYTES_MAX } from '../../base/limits.ts'
import { silent, type Progress } from '../../base/progress.ts'
import { leaseHash } from '../../lease/index.ts'
import type { ImportVolume, MachineRequestJson } from '../../runner/protocol.ts'
import type { Params, Result } from '../api.ts'
import type { FleetNode } from '../node.ts'
import { giveBack } from '../pruning/sweep.ts'
import type { Runner } from '../runners/runners.ts'
import { clone } from './clone.ts'
import type { UseCaseContext } from './context.ts'

const MEMORY_BYTES_MIN = 32 * 1024 ** 2
const MEMORY_BYTES_MAX = 1024 ** 4
const MEMORY_BYTES_DEFAULT = 512 * 1024 ** 2
const MEMORY_STEP_BYTES = 1024 ** 2
const CPUS_MAX = 64
const FORGET_ATTEMPTS = 5
const FORGET_RETRY_MS = 300
/** Of a blank disk: less is a forgotten unit. */
const DISK_BYTES_MIN = 1024 ** 2
/** A disk has whole sectors: an image that ends within one is filled up with zeros, as QEMU does. */
const SECTOR_BYTES = 512

export async function create(
  node: FleetNode,
  params: Params<'create'>,
  context: UseCaseContext
): Promise<Result<'create'>> {
  checkParams(node, params)
  if (params.from !== undefined) return clone(node, params, context)
  const { id } = await node.registry.createParcel(params.name, params.compression)
  const parcel = node.registry.parcel(id)!
  let runner: Runner | null = null
  // Whoever gives up sees it gone at once, and may use the name again; the rest takes its time.
  const onabort = () => void node.hideUncreated(id).catch(safetyCatch)
  context.signal.addEventListener('abort', onabort, { once: true })
  try {
    runner = await node.runners.start(parcel, 'work')
    const volumes = await planVolumes(runner, params)
    context.signal.throwIfAborted()
    const lease = await node.leases.create(id, null)
    await node.runners.open(runner, null)
    const summary = await runner.process.call(
      'import',
      {
        number: 1,
        parent: null,
        lease: leaseHash(lease.body).toString('hex'),
        author: node.identity.device.publicKey.toString('hex'),
        time: Date.now(),
        message: '',
        cause: 'create',
        volumes,
        machine: machineRequest(params, volumes)
      },
      { signal: context.signal, onevent: (event) => context.progress(event as Progress) }
    )
    await node.runners.end(runner, true)
    context.signal.throwIfAborted()
    return {
      parcel: parcel.name,
      version: 1,
      bytes_read: summary.bytesRead,
      bytes_stored: summary.bytesStored
    }
  } catch (err) {
    if (runner !== null) await node.runners.end(runner, true).catch(() => {})
    await forget(node, id).catch(safetyCatch) // the next daemon tries again
    const work = { signal: node.closingSignal, progress: silent }
    void giveBack(node, work).catch(safetyCatch) // what is left goes with the next prune
    throw (err as { code?: string }).code === 'DISK_FULL' ? await noRoom(params, err) : err
  } finally {
    context.signal.removeEventListener('abort', onabort)
  }
}

/** On a full disk there may be room for that only when what waits in memory was written, and its journal is gone. */
async function forget(node: FleetNode, parcel: Buffer): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await node.forgetUncreated(parcel)
    } catch (err) {
      if (attempt === FORGET_ATTEMPTS) throw err
      await node.store.flush().catch(safetyCatch)
      await sleep(FORGET_RETRY_MS, undefined, { signal: node.closingSignal })
    }
  }
}

/** What a create would have needed, not only the write that failed. */
async function noRoom({ disks }: Params<'create'>, cause: unknown): Promise<HyperparcelError> {
  let bytes = 0
  for (const file of disks) {
    const found = await stat(file).catch(() => null)
    bytes += found === null ? 0 : Math.min(found.size, found.blocks * 512)
  }
  const error = HyperparcelError.from(cause)
  if (bytes === 0) return error
  const data = formatBytes(bytes)
  return new HyperparcelError('DISK_FULL', 'There is too little space left on the disk', {
    hint: `The images have ${data} of data, which may take as much here: free that much, or less where it compresses well or is stored here already. Nothing was lost.`,
    context: { ...error.context, image_bytes: bytes },
    cause
  })
}

function checkParams(node: FleetNode, params: Params<'create'>): void {
  if (params.vmm !== 'qemu') {
    throw new HyperparcelError('USAGE', `There is no VMM called ${params.vmm}`, {
      hint: 'There is only qemu: leave --vmm out.'
    })
  }
  const { memoryBytes = MEMORY_BYTES_DEFAULT, cpus = 1 } = params
  if (memoryBytes < MEMORY_BYTES_MIN || memoryBytes % MEMORY_STEP_BYTES !== 0) {
    throw new HyperparcelError('USAGE', 'Memory is at least 32 MiB, in steps of 1 MiB', {
      hint: 'For instance --memory 512M.'
    })
  }
  if (memoryBytes > MEMORY_BYTES_MAX) {
    throw new HyperparcelError('USAGE', 'Memory is at most 1 TiB', {
      hint: 'For instance --memory 512M.'
    })
  }
  if (params.sizeBytes !== undefined && params.sizeBytes < DISK_BYTES_MIN) {
    throw new HyperparcelError('USAGE', `A disk of ${params.sizeBytes} bytes is too small`, {
      hint: 'At least 1M; a size has a unit, for instance --size 20G.'
    })
  }
  if ((params.sizeBytes ?? 0) > VOLUME_BYTES_MAX) {
    throw new HyperparcelError('USAGE', 'A disk has at most 64 TiB', {
      hint: 'For instance --size 20G.'
    })
  }
  if (!(cpus >= 1 && cpus <= CPUS_MAX)) {
    throw new HyperparcelError('USAGE', `A VM has 1 to ${CPUS_MAX} CPUs`, {
      hint: 'For instance --cpus 2.'
    })
  }
  if (node.registry.parcelByName(params.name) !== null) {
    throw new HyperparcelError('PARCEL_EXISTS', `There is a parcel called ${params.name} already`, {
      hint: 'Choose another name.'
    })
  }
}

async function planVolumes(runner: Runner, params: Params<'create'>): Promise<ImportVolume[]> {
  const volumes: ImportVolume[] = []
  const add = async (name: string, file: string, readOnly: boolean) => {
    const info = await runner.process.call('inspect', { file, asDisk: !readOnly })
    const sizeBytes = readOnly ? info.sizeBytes : wholeSectors(info.sizeBytes)
    volumes.push({ name, file, format: info.format, sizeBytes, readOnly })
  }
  for (const [i, file] of params.disks.entries()) await add(`disk${i}`, file, false)
  if (params.sizeBytes !== undefined) {
    volumes.push({
      name: `disk${params.disks.length}`,
      file: null,
      format: 'raw',
      sizeBytes: wholeSectors(params.sizeBytes),
      readOnly: false
    })
  }
  if (params.iso !== undefined) await add('iso', params.iso, true)
  if (params.kernel !== undefined) {
    await add('kernel', params.kernel.kernel, true)
    if (params.kernel.initrd !== undefined) await add('initrd', params.kernel.initrd, true)
  }
  return volumes
}

function wholeSectors(bytes: number): number {
  return Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES
}

function machineRequest(params: Params<'create'>, volumes: ImportVolume[]): MachineRequestJson {
  const { kernel } = params
  return {
    cpus: params.cpus ?? 1,
    memoryBytes: params.memoryBytes ?? MEMORY_BYTES_DEFAULT,
    disks: volumes
      .filter((volume) => !volume.readOnly)
      .map((volume) => ({ volume: volume.name, bytes: volume.sizeBytes })),
    ...(params.iso === undefined ? {} : { isoVolume: 'iso' }),
    ...(kernel === undefined
      ? {}
      : {
          kernel: {
            kernelVolume: 'kernel',
            append: kernel.append,
            ...(kernel.initrd === undefined ? {} : { initrdVolume: 'initrd' })
          }
        })
  }
}
