/** What the demo measured and checked: the object of `--json`, and the summary for people. */
import { formatBytes, formatDuration, formatTable } from '../../lib/cli/ui/format.ts'

/** Bytes, milliseconds and seconds as the names say; null where something could not be measured. */
export interface Figures {
  vmm: string
  accel: string
  memory_bytes: number
  disk_bytes: number
  /** From starting the command to its end. */
  boot_ms: number
  home_suspend_ms: number
  /** CPUs stopped until the version was durable. */
  home_pause_ms: number
  /** Milliseconds by step, from the daemon. */
  home_suspend_trace: Record<string, number>
  home_suspend_bytes_new: number
  home_suspend_bytes_stored: number
  /** From starting the command to its end, which says that the CPUs run. */
  office_resume_ms: number
  /** From starting that command to the first answer on the serial console. */
  office_interactive_ms: number
  office_resume_trace: Record<string, number>
  /** Everything that the office's daemon received from peers between the command and then, with all overhead. */
  office_bytes_before_run: number
  /** Likewise; the rest of the parcel comes in the background meanwhile. */
  office_bytes_at_interactive: number
  /** What of that the guest had to wait for. */
  office_demand_bytes_at_interactive: number
  /** How the guest's clock was set there, and how far off it was before it left again. */
  office_clock: string | null
  office_clock_off_seconds: number
  ram_secret_before: string
  ram_secret_after: string
  tick_before: number
  tick_after: number
  uptime_continues: boolean
  disk_sha256_before: string
  disk_sha256_after: string
  back_suspend_ms: number
  back_bytes_new: number
  back_bytes_stored: number
  back_resume_ms: number
  back_interactive_ms: number
  back_ok: boolean
  plaintext_hits: number
  /** What the search went through, in the end and while the VM ran. */
  searched_bytes: number
  searched_files: number
  /** Whether all traffic between the devices was captured and searched too; if not, why. */
  capture: boolean
  capture_problem: string | null
  capture_bytes: number
  /** What was planted for the search to find, and was found. */
  control: { files: number; capture: number; guest_memory: number }
  seconds: number
}

/** What is wrong with them, as sentences; none when all is well. */
export function failures(f: Figures): string[] {
  const checks: [boolean, string][] = [
    [f.ram_secret_before === f.ram_secret_after, 'the secret in RAM is not the same at the office'],
    [/^[0-9a-f]{64}$/.test(f.ram_secret_before), 'the secret in RAM has no checksum'],
    [f.tick_after > f.tick_before, 'the counter did not go on'],
    [f.uptime_continues, 'the guest was booted again'],
    [f.disk_sha256_before === f.disk_sha256_after, 'the file on the disk is not the same'],
    [/^[0-9a-f]{64}$/.test(f.disk_sha256_before), 'the file on the disk has no checksum'],
    [f.back_ok, 'back at home the guest is not as it was at the office'],
    [f.plaintext_hits === 0, 'something of the guest was found outside of it'],
    [f.control.files > 0, 'the search did not find what was planted in a file'],
    [f.control.guest_memory > 0, "the search did not find the markers in the guest's own memory"],
    [!f.capture || f.control.capture > 0, 'the search did not find what was planted in the traffic']
  ]
  return checks.filter(([good]) => !good).map(([, problem]) => problem)
}

/** Resume and suspend beside what the classic systems published (ISR-1, 2002; ISR-2, 2004). */
export function summary(f: Figures): string {
  const s = formatDuration
  const share = ((100 * f.office_bytes_before_run) / f.memory_bytes).toFixed(1)
  const rows = [
    ['suspend at home', s(f.home_suspend_ms), 'about 2 min (ISR-1, 128 MB)'],
    [
      'resume at the office, until its CPUs run',
      s(f.office_resume_ms),
      '10 to 14 s (ISR-2, 256 MB)'
    ],
    [
      '  … with this fetched by then',
      formatBytes(f.office_bytes_before_run),
      `all of memory (here ${share} % of it)`
    ],
    ['  … until its console answers', s(f.office_interactive_ms), '-'],
    ['suspend at the office', s(f.back_suspend_ms), '-'],
    ['  … new data in that version', formatBytes(f.back_bytes_new), '-'],
    ['resume back at home', s(f.back_resume_ms), '10 to 11 s (ISR-2, all data there)']
  ]
  const memory = `${formatBytes(f.memory_bytes)} of memory, ${f.vmm} with ${f.accel}`
  return [
    formatTable([memory, 'here', 'published'], rows),
    '',
    'Published figures: two machines on 100 Mb/s Ethernet, and a server. Here: one machine, no server.'
  ].join('\n')
}
