/**
 * Does KVM work here? Asked with a real start of the CPU that guests get (`probe-firmware.ts`), because `/dev/kvm` may exist
 * and hang. The answer is kept for the host's boot, the QEMU version and the CPU model.
 */
import { spawn } from 'node:child_process'
import { access, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { constants } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { readFileIfPresent, writeFileDurable } from '../../base/files.ts'
import { TextRing } from './ring.ts'
import { QEMU } from './host.ts'
import { EXIT_CODE, EXIT_DEVICE, probeFirmware } from './probe-firmware.ts'

export const KVM_PROBE_TIMEOUT_MS = 2500

export interface KvmAnswer {
  works: boolean
  /** Why not, a part of a sentence; empty when it works. */
  reason: string
}

/** Never rejects. `directory` keeps the answer; null asks each time. `kvm`: the device, for tests on hosts without. */
export async function askKvm(
  qemuVersion: string,
  cpuModel: string,
  directory: string | null,
  kvm = '/dev/kvm'
): Promise<KvmAnswer> {
  const device = await access(kvm, constants.R_OK | constants.W_OK).then(
    () => null,
    (err: NodeJS.ErrnoException) => err.code
  )
  if (device === 'ENOENT') return { works: false, reason: `there is no ${kvm}` }
  if (device !== null) return { works: false, reason: `this user may not use ${kvm}` }
  const key = `${await bootId()} ${qemuVersion} ${cpuModel}`
  const file = directory === null ? null : path.join(directory, 'kvm.json')
  const kept = file === null ? null : parseKept(await readFileIfPresent(file).catch(() => null))
  if (kept !== null && kept.key === key) return { works: kept.works, reason: kept.reason }
  const answer = await probe('kvm', cpuModel, KVM_PROBE_TIMEOUT_MS)
  if (file !== null) {
    await mkdir(directory!, { recursive: true, mode: 0o700 })
      .then(() => writeFileDurable(file, JSON.stringify({ key, ...answer })))
      .catch(() => {}) // asked again next time
  }
  return answer
}

/** Starts a CPU once; the process is killed, and not waited for, when it takes too long. */
export async function probe(
  accelerator: 'kvm' | 'tcg',
  cpuModel: string,
  timeoutMs: number
): Promise<KvmAnswer> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'hyperparcel-probe-'))
  try {
    const firmware = path.join(directory, 'exit.bin')
    await writeFile(firmware, probeFirmware())
    return await start(['-accel', accelerator, '-cpu', cpuModel, '-bios', firmware], timeoutMs)
  } catch (err) {
    return { works: false, reason: (err as Error).message }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

function start(what: string[], timeoutMs: number): Promise<KvmAnswer> {
  const quiet = ['-nodefaults', '-no-user-config', '-display', 'none', '-m', '16']
  const machine = ['-machine', 'q35,sata=off,usb=off', '-device', EXIT_DEVICE]
  const args = [...quiet, ...machine, ...what]
  return new Promise((resolve) => {
    const child = spawn(QEMU, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    const ring = new TextRing()
    child.stderr.on('data', (data: Buffer) => ring.push(data))
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      child.unref() // it may be stuck in the kernel
      child.stderr.destroy()
      resolve({ works: false, reason: `a first guest did not start within ${timeoutMs} ms` })
    }, timeoutMs)
    child.on('error', (err) => finish({ works: false, reason: err.message }))
    child.on('exit', (code) => {
      if (code === EXIT_CODE) finish({ works: true, reason: '' })
      else
        finish({ works: false, reason: ring.last(1) || `a first guest failed (exit code ${code})` })
    })
    function finish(answer: KvmAnswer): void {
      clearTimeout(timer)
      resolve(answer)
    }
  })
}

async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
}

function parseKept(data: Buffer | null): { key: string; works: boolean; reason: string } | null {
  if (data === null) return null
  try {
    const kept = JSON.parse(data.toString('utf8')) as Record<string, unknown>
    const { key, works, reason } = kept
    if (typeof key !== 'string' || typeof works !== 'boolean' || typeof reason !== 'string') {
      return null
    }
    return { key, works, reason }
  } catch {
    return null
  }
}
