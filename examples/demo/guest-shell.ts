/** What the demo does inside the guest, through the shell on its serial console. */
import type { SerialConsole } from '../guest/serial-console.ts'
import type { Markers } from './needles.ts'

/** RAM only: `/run` is a tmpfs. */
const SECRET = '/run/secret'
const FILE = '/root/file'
const NOTE = '/root/note'
const RAM_NOTE = '/run/note'
const SAMPLE_BYTES = 32
const SLOW_MS = 180_000

export const SECRET_MIB = 64
const FILE_MIB = 8

/** The guest as it is at one moment. */
export interface Look {
  tick: number
  uptimeSeconds: number
  bootId: string
  /** How far its clock is from ours. */
  clockOffSeconds: number
}

export interface Sums {
  ramSecret: string
  diskFile: string
}

export class GuestShell {
  readonly #console: SerialConsole

  constructor(console: SerialConsole) {
    this.#console = console
  }

  /** Resolves at the first answer. */
  async answers(timeoutMs: number): Promise<void> {
    await this.#console.ready(timeoutMs)
  }

  close(): void {
    this.#console.close()
  }

  /** A random secret in RAM, a random file on the disk. */
  async plantSecrets(): Promise<void> {
    await this.#run(`dd if=/dev/urandom of=${SECRET} bs=1M count=${SECRET_MIB} 2>/dev/null`)
    await this.#run(`dd if=/dev/urandom of=${FILE} bs=1M count=${FILE_MIB} 2>/dev/null; sync`)
  }

  /** Markers in RAM and on the disk, dense and in the midst of random data, and on both consoles. */
  async plantMarkers(markers: Markers): Promise<void> {
    const plant = (marker: string, file: string) =>
      this.#run(
        `yes ${marker} | head -n 8192 > ${file}; for i in $(seq 32); do head -c 4000 /dev/urandom; echo ${marker}; done >> ${file}`
      )
    await plant(markers.ram, '/run/markers')
    await plant(markers.disk, '/root/markers')
    await this.#run('sync')
    await this.#run(`yes ${markers.console} | head -n 40`)
    await this.#run(`[ ! -c /dev/tty0 ] || yes ${markers.screen} | head -n 40 > /dev/tty0`)
  }

  /** Random bytes from the midst of the secret and of the file, hex. */
  async samples(): Promise<Record<string, string>> {
    const samples: Record<string, string> = {}
    for (const [name, file, mib] of [
      ['RAM secret', SECRET, SECRET_MIB],
      ['disk file', FILE, FILE_MIB]
    ] as const) {
      for (const part of [0.1, 0.4, 0.8]) {
        const block = Math.floor((part * mib * 1024 * 1024) / SAMPLE_BYTES)
        const command = `dd if=${file} bs=${SAMPLE_BYTES} skip=${block} count=1 2>/dev/null | hexdump -v -e '1/1 "%02x"'`
        const hex = await this.#run(`${command}; echo`)
        if (!/^[0-9a-f]{64}$/.test(hex)) throw new Error(`the guest shows no sample: ${hex}`)
        samples[`${name} at ${part * 100} %`] = hex
      }
    }
    return samples
  }

  /** Waits until the counter is beyond `tick`, some seconds at most: the guest may have run for less than one. */
  async look(tick = 0): Promise<Look> {
    await this.#run(
      `n=0; while [ $(cat /run/tick) -le ${tick} ] && [ $n -lt 50 ]; do n=$((n+1)); sleep 0.1; done`
    )
    const said = await this.#run(
      'cat /run/tick /proc/sys/kernel/random/boot_id; cut -d" " -f1 /proc/uptime; date +%s'
    )
    const [count, bootId, uptime, seconds] = said.split('\n')
    return {
      tick: Number(count),
      uptimeSeconds: Number(uptime),
      bootId,
      clockOffSeconds: Math.abs(Date.now() / 1000 - Number(seconds))
    }
  }

  /** The file's is read from the disk, not from the guest's cache. */
  async sums(): Promise<Sums> {
    const ramSecret = await this.#sha256(SECRET)
    await this.#run('sync; echo 3 > /proc/sys/vm/drop_caches')
    return { ramSecret, diskFile: await this.#sha256(FILE) }
  }

  /** Something new on the disk and in RAM. */
  async change(text: string): Promise<void> {
    await this.#run(`echo ${text} > ${NOTE}; echo ${text} > ${RAM_NOTE}; sync`)
  }

  async hasChange(text: string): Promise<boolean> {
    const said = await this.#run(`cat ${NOTE} ${RAM_NOTE} 2>/dev/null; true`)
    return said === `${text}\n${text}`
  }

  async #sha256(file: string): Promise<string> {
    return (await this.#run(`sha256sum ${file}`)).slice(0, 64)
  }

  #run(command: string): Promise<string> {
    return this.#console.run(command, { timeoutMs: SLOW_MS })
  }
}
