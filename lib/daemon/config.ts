/** Settings of a device, `<home>/config.json`. Unknown keys of a newer release are kept. */
import { readFile } from 'node:fs/promises'
import * as v from 'valibot'
import { HyperparcelError } from '../base/errors.ts'
import { writeFileDurable } from '../base/files.ts'

const Settings = v.looseObject({
  /** `host:port` of DHT bootstrap nodes; absent for the public DHT. */
  bootstrap: v.optional(v.array(v.pipe(v.string(), v.regex(/^[^\s:]+:\d{1,5}$/)))),
  /** Look for peers on the local network. */
  lan: v.optional(v.boolean())
})

export type Settings = v.InferOutput<typeof Settings>

export class Config {
  readonly #file: string
  #settings: Settings = {}

  constructor(file: string) {
    this.#file = file
  }

  get settings(): Readonly<Settings> {
    return this.#settings
  }

  /** Rejects with `CONFIG_INVALID` for a file that is not ours. */
  async load(): Promise<void> {
    let text: string
    try {
      text = await readFile(this.#file, 'utf8')
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code === 'ENOENT') return
      throw err
    }
    try {
      this.#settings = v.parse(Settings, JSON.parse(text))
    } catch (err) {
      throw new HyperparcelError('CONFIG_INVALID', `${this.#file} does not hold valid settings`, {
        hint: 'Correct it, or remove it to start with the defaults.',
        cause: err
      })
    }
  }

  /** Durable on return. Undefined values leave a setting as it is. */
  async set(change: Settings): Promise<void> {
    const next = { ...this.#settings }
    for (const [key, value] of Object.entries(change)) if (value !== undefined) next[key] = value
    if (JSON.stringify(next) === JSON.stringify(this.#settings)) return
    await writeFileDurable(this.#file, `${JSON.stringify(next, null, 2)}\n`)
    this.#settings = next
  }

  /** One setting; null where it is not set. Throws `CONFIG_UNKNOWN`. */
  get(key: string): unknown {
    if (!Object.hasOwn(TEXT, key) && !Object.hasOwn(this.#settings, key)) throw unknown(key)
    return this.#settings[key] ?? null
  }

  /** One setting from the command line's text. */
  async setText(key: string, text: string): Promise<void> {
    const parse = Object.hasOwn(TEXT, key) ? TEXT[key] : undefined
    if (parse === undefined) throw unknown(key)
    const change = v.safeParse(Settings, { [key]: parse(text) })
    if (!change.success) {
      throw new HyperparcelError('USAGE', `${text} is no value for ${key}`, {
        hint: HINTS[key]
      })
    }
    await this.set(change.output)
  }
}

function unknown(key: string): HyperparcelError {
  return new HyperparcelError('CONFIG_UNKNOWN', `There is no setting ${key}`, {
    hint: `There are: ${Object.keys(TEXT).join(', ')}.`
  })
}

const HINTS: Record<string, string> = {
  bootstrap: 'Write HOST:PORT, several with commas between them.',
  lan: 'Write true or false.'
}

const TEXT: Record<string, (text: string) => unknown> = {
  bootstrap: (text) => text.split(',').filter((part) => part !== ''),
  lan: (text) => (text === 'true' ? true : text === 'false' ? false : text)
}
