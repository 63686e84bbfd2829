/** What lies at the paths that somebody looks at: opened once, opened anew when it changed, closed when it is gone. */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { STICK_DIRECTORY } from '../format/stick.ts'
import type { Looked, StickInfo } from './protocol.ts'
import { Stick, foldersIn, stampOf } from './stick.ts'

export class Shelf {
  readonly #key: Buffer
  readonly #sticks = new Map<string, Stick>()

  constructor(key: Buffer) {
    this.#key = key
  }

  stick(folder: string): Stick | undefined {
    return this.#sticks.get(folder)
  }

  async look(paths: string[]): Promise<Looked[]> {
    const found: Looked[] = []
    const seen = new Set<string>()
    for (const each of paths) {
      const looked = await this.#lookAt(each).catch((err: unknown) => absent(each, err))
      for (const { folder } of looked.sticks) seen.add(folder)
      found.push(looked)
    }
    for (const [folder, stick] of this.#sticks) {
      if (seen.has(folder)) continue
      this.#sticks.delete(folder)
      await stick.close()
    }
    return found
  }

  async close(): Promise<void> {
    for (const stick of this.#sticks.values()) await stick.close()
    this.#sticks.clear()
  }

  async #lookAt(at: string): Promise<Looked> {
    const looked: Looked = { path: at, kind: null, sticks: [], bytes: 0, foreign: 0, note: null }
    const found = await stat(at)
    if (found.isFile()) return { ...looked, kind: 'image', bytes: found.size }
    const directory = path.basename(at) === STICK_DIRECTORY ? at : path.join(at, STICK_DIRECTORY)
    const folders = await foldersIn(directory).catch((err: unknown) => {
      if ((err as NodeJS.ErrnoException).code === 'ENOENT') return null
      throw err
    })
    if (folders === null) return { ...looked, kind: 'directory' }
    looked.kind = 'stick'
    for (const folder of folders) {
      try {
        const stick = await this.#open(folder)
        if (stick === null) looked.foreign++
        else looked.sticks.push(infoOf(stick))
      } catch (err) {
        looked.note = (err as Error).message
      }
    }
    return looked
  }

  async #open(folder: string): Promise<Stick | null> {
    const known = this.#sticks.get(folder)
    if (known !== undefined && known.stamp === (await stampOf(folder))) return known
    this.#sticks.delete(folder)
    await known?.close()
    const stick = await Stick.open(folder, this.#key)
    if (stick !== null) this.#sticks.set(folder, stick)
    return stick
  }
}

function infoOf({ folder, stamp, index, bad, bytes }: Stick): StickInfo {
  const { version, complete } = index
  return {
    folder,
    stamp,
    version:
      version === null || !complete
        ? null
        : {
            id: version.version.toString('hex'),
            number: version.number,
            parcel: version.parcel.toString('hex'),
            annex: version.annex && {
              log: version.annex.log.toString('hex'),
              block: version.annex.block
            }
          },
    damaged: index.damaged || bad > 0,
    bytes
  }
}

function absent(at: string, err: unknown): Looked {
  const { code, message } = err as NodeJS.ErrnoException
  const gone = ['ENOENT', 'ENOTDIR', 'ENODEV', 'EIO', 'ENXIO'].includes(code ?? '')
  return { path: at, kind: null, sticks: [], bytes: 0, foreign: 0, note: gone ? null : message }
}
