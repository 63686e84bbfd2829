/**
 * The CPU that guests see: QEMU's `qemu64-v1` with the features of the x86-64-v2 level and AES, which every PC of the
 * last twelve years has and which TCG emulates fully. `enforce` makes QEMU refuse to start where one is missing.
 * Under KVM the vendor must be the host's: guests choose system call instructions by it.
 */
import { readFile } from 'node:fs/promises'

const FEATURES = ['ssse3', 'sse4.1', 'sse4.2', 'popcnt', 'aes', 'pclmulqdq']
/** As /proc/cpuinfo spells them, with what `qemu64-v1` has. */
const FLAGS = ['cx16', 'lahf_lm', 'ssse3', 'sse4_1', 'sse4_2', 'popcnt', 'aes', 'pclmulqdq']

export interface HostCpu {
  vendor: string
  flags: Set<string>
}

export async function hostCpu(): Promise<HostCpu> {
  const text = await readFile('/proc/cpuinfo', 'utf8')
  const vendor = /^vendor_id\s*:\s*(\S+)/m.exec(text)?.[1] ?? 'unknown'
  const flags = /^flags\s*:\s*(.*)$/m.exec(text)?.[1] ?? ''
  return { vendor, flags: new Set(flags.split(' ')) }
}

/** The value of `-cpu`. TCG takes any vendor; AMD's spares guests the mitigations for Intel's CPUs. */
export function cpuModel(accelerator: 'kvm' | 'tcg', host: HostCpu): string {
  const vendor = accelerator === 'kvm' ? host.vendor : 'AuthenticAMD'
  const features = FEATURES.map((feature) => `+${feature}`)
  return ['qemu64-v1', '-svm', ...features, `vendor=${vendor}`, 'enforce'].join(',')
}

/** Null when a KVM guest with that model runs here, else why not. */
export function cpuMismatch(model: string, host: HostCpu): string | null {
  const vendor = /(?:^|,)vendor=([^,]+)/.exec(model)?.[1]
  if (vendor !== undefined && vendor !== host.vendor) {
    return `it was saved on a CPU of ${vendor}, this one is of ${host.vendor}`
  }
  const missing = FLAGS.filter((flag) => !host.flags.has(flag))
  return missing.length === 0 ? null : `this CPU lacks ${missing.join(', ')}`
}
