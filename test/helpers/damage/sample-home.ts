/**
 * A small home on a real disk, without a network: keys, the registry, a version of one volume with device state, the
 * dedup index, and an overlay with changes. What a guest, a commit and the daemon would read of it is compared with
 * what was written.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { HyperparcelError } from '../../../lib/base/errors.ts'
import { CHUNK_BYTES, CHUNK_ID_BYTES, SEGMENT_DATA_BYTES } from '../../../lib/base/limits.ts'
import { writeChunkId } from '../../../lib/chunk/ids.ts'
import { openSegment } from '../../../lib/chunk/segment.ts'
import { createFleet } from '../../../lib/fleet/index.ts'
import { Commit, type VolumeCommit } from '../../../lib/parcel/commit.ts'
import { LogTable } from '../../../lib/parcel/log-table.ts'
import { VersionReader, openVersion } from '../../../lib/parcel/version-reader.ts'
import { BlockSource } from '../../../lib/runner/block-source.ts'
import { sealOverlayKey, unsealOverlayKey } from '../../../lib/runner/overlay-key.ts'
import { RemoteSink } from '../../../lib/runner/remote-sink.ts'
import { MapBase } from '../../../lib/volume/map-base.ts'
import { Overlay } from '../../../lib/volume/overlay.ts'
import { SegmentCache } from '../../../lib/volume/segment-cache.ts'
import { Volume } from '../../../lib/volume/volume.ts'
import { emptyMap, metaOf } from '../memory-parcel.ts'
import { Random } from '../random.ts'
import { HomeParts, PURPOSE, logKeysOf } from './home-parts.ts'

const CHUNKS = 64
const SIZE_BYTES = CHUNKS * CHUNK_BYTES
/** Every fifth chunk is zero, every eighth is changed in the overlay. */
const STATE_BYTES = 20_000

/** What reading it came to: `wrong` names what was read and had another content. */
export interface Outcome {
  wrong: string[]
  /** Codes of errors, each once. */
  codes: string[]
  /** The store could not be opened. */
  shut: boolean
}

/** What another process needs to know of it besides the seed. */
interface Note {
  device: string
  dedupKey: string
  log: string
  version: string
  at: number
}

export class SampleHome {
  readonly directory: string
  readonly #random: Random
  readonly #base: Buffer
  readonly #content: Buffer
  readonly #state: Buffer
  readonly #ids: Buffer
  #device!: Buffer
  #dedupKey!: Buffer
  #log!: Buffer
  #version!: Buffer
  #at = 0
  #parts: HomeParts | null = null
  #overlay: Overlay | null = null

  constructor(directory: string, seed: number) {
    this.directory = directory
    this.#random = new Random(seed)
    this.#base = this.#random.bytes(SIZE_BYTES)
    for (let chunk = 0; chunk < CHUNKS; chunk += 5) this.#chunk(this.#base, chunk).fill(0)
    this.#content = Buffer.from(this.#base)
    for (let chunk = 3; chunk < CHUNKS; chunk += 8) {
      this.#random.bytes(CHUNK_BYTES).copy(this.#content, chunk * CHUNK_BYTES)
    }
    this.#state = this.#random.bytes(STATE_BYTES)
    this.#ids = Buffer.alloc(CHUNKS * CHUNK_ID_BYTES)
  }

  /** Makes it, and closes it cleanly. */
  async create(): Promise<void> {
    await mkdir(this.#path('keys'), { recursive: true, mode: 0o700 })
    const { identity } = await createFleet({ keysDirectory: this.#path('keys'), name: 'home' })
    this.#device = identity.device.publicKey
    this.#dedupKey = identity.keyring!.dedupKey
    const parts = await HomeParts.open(this.directory)
    const parcel = await parts.registry.createParcel('work')
    const log = await parts.store.current(PURPOSE)
    await parts.registry.append({ kind: 'log', body: { parcel: parcel.id, log: log.key } })
    this.#log = log.key
    await this.#commit(parts)
    this.#writeIds()
    const overlay = await Overlay.create(this.#path('disk0.overlay'), {
      volume: 0,
      name: 'disk0',
      sizeBytes: SIZE_BYTES,
      baseId: this.#version.toString('hex'),
      sealKey: (key) => sealOverlayKey(key, parts.overlayKey)
    })
    const volume = await this.#open(parts, overlay)
    for (let chunk = 3; chunk < CHUNKS; chunk += 8) {
      await volume.pwrite(this.#chunk(this.#content, chunk), chunk * CHUNK_BYTES, false)
    }
    await volume.flush()
    await volume.close()
    await parts.close()
    const note: Note = {
      device: this.#device.toString('hex'),
      dedupKey: this.#dedupKey.toString('hex'),
      log: this.#log.toString('hex'),
      version: this.#version.toString('hex'),
      at: this.#at
    }
    await writeFile(`${this.directory}.json`, JSON.stringify(note))
  }

  /** One that another process has made with the same seed. */
  async load(): Promise<void> {
    const note = JSON.parse(await readFile(`${this.directory}.json`, 'utf8')) as Note
    this.#device = Buffer.from(note.device, 'hex')
    this.#dedupKey = Buffer.from(note.dedupKey, 'hex')
    this.#log = Buffer.from(note.log, 'hex')
    this.#version = Buffer.from(note.version, 'hex')
    this.#at = note.at
    this.#writeIds()
  }

  /** Opens all of it and reads everything. */
  async openAndRead(): Promise<Outcome> {
    const outcome: Outcome = { wrong: [], codes: [], shut: false }
    let parts: HomeParts
    try {
      parts = await HomeParts.open(this.directory)
    } catch (err) {
      note(outcome, err)
      outcome.shut = !(err instanceof HyperparcelError && /^KEY|NO_FLEET/.test(err.code))
      return outcome
    }
    try {
      if (!parts.device.equals(this.#device)) outcome.wrong.push('device key')
      if (parts.registry.parcels().some(({ name }) => name !== 'work')) {
        outcome.wrong.push('name of a parcel')
      }
      await this.#read(parts, outcome, 1)
      await parts.close()
    } catch (err) {
      note(outcome, err)
      await parts.close().catch((e: unknown) => note(outcome, e))
    }
    return outcome
  }

  /** Keeps it open for `readAgain`. */
  async open(): Promise<void> {
    this.#parts = await HomeParts.open(this.directory)
    this.#overlay = await this.#openOverlay(this.#parts)
  }

  /** Reads everything of what is open: with fresh caches, but through files that were opened before. */
  async readAgain(): Promise<Outcome> {
    const outcome: Outcome = { wrong: [], codes: [], shut: false }
    await this.#read(this.#parts!, outcome, 16)
    return outcome
  }

  async close(): Promise<void> {
    await this.#overlay?.close()
    await this.#parts?.close()
    this.#overlay = this.#parts = null
  }

  async #commit(parts: HomeParts): Promise<void> {
    const sink = await RemoteSink.begin(parts.host)
    const commit = new Commit(sink, this.#dedupKey, new LogTable())
    const volume: VolumeCommit = {
      name: 'disk0',
      sizeBytes: SIZE_BYTES,
      readOnly: false,
      base: emptyMap(SIZE_BYTES),
      changed: new Map()
    }
    const places = Array.from({ length: CHUNKS }, (_, i) => i)
    const data = Buffer.from(this.#base)
    await commit.addLeaf(volume, { index: 0, places, data, zeros: [] })
    const made = await commit.finish(metaOf(1), [volume], [Buffer.from(this.#state)])
    this.#version = made.id
    this.#at = made.at
    await parts.publish(sink, made.block, made.at)
  }

  /** @param count chunks that are read at once */
  async #read(parts: HomeParts, outcome: Outcome, count: number): Promise<void> {
    const attempt = async (run: () => Promise<void>) => {
      try {
        await run()
      } catch (err) {
        note(outcome, err)
      }
    }
    await attempt(async () => {
      const overlay = this.#overlay ?? (await this.#openOverlay(parts))
      try {
        const volume = await this.#open(parts, overlay)
        const target = Buffer.alloc(count * CHUNK_BYTES)
        for (let first = 0; first < CHUNKS; first += count) {
          await attempt(async () => {
            const offset = first * CHUNK_BYTES
            await volume.pread(target, offset)
            const right = this.#content.subarray(offset, offset + target.byteLength)
            if (!target.equals(right)) outcome.wrong.push(`chunk ${first}`)
          })
        }
      } finally {
        if (overlay !== this.#overlay) await overlay.close()
      }
    })
    await attempt(() => this.#readState(parts, outcome))
    await attempt(() => this.#lookUp(parts, outcome))
  }

  async #readState(parts: HomeParts, outcome: Outcome): Promise<void> {
    const pieces: Buffer[] = []
    for await (const piece of (await this.#reader(parts)).state()) pieces.push(piece)
    if (!Buffer.concat(pieces).equals(this.#state)) outcome.wrong.push('device state')
  }

  /** A chunk is offered to a commit only where it is; ids of segments are never other ones. */
  async #lookUp(parts: HomeParts, outcome: Outcome): Promise<void> {
    await parts.index.loaded()
    const { words } = await parts.index.lookup(this.#ids)
    const keys = logKeysOf(this.#log)
    for (let chunk = 0; chunk < CHUNKS; chunk++) {
      if (words[chunk * 3] === 0) continue
      const block = words[chunk * 3 + 1]
      const sealed = await (await parts.store.open(this.#log)).read(block)
      if (sealed === null) {
        outcome.wrong.push(`place of chunk ${chunk}`)
        continue
      }
      const target = Buffer.alloc(SEGMENT_DATA_BYTES)
      const segment = openSegment(sealed, this.#log, block, keys.data, target)
      const slot = words[chunk * 3 + 2]
      if (!this.#chunk(segment, slot).equals(this.#chunk(this.#base, chunk))) {
        outcome.wrong.push(`place of chunk ${chunk}`)
      }
    }
    const ids = await parts.indexer.idsOf([this.#log], Uint32Array.from([0, 0]))
    const first = Array.from({ length: 16 }, (_, i) => i + 1 + Math.floor(i / 4))
    for (const [slot, chunk] of first.entries()) {
      const at = slot * CHUNK_ID_BYTES
      const right = this.#ids.subarray(chunk * CHUNK_ID_BYTES, (chunk + 1) * CHUNK_ID_BYTES)
      if (!ids.subarray(at, at + CHUNK_ID_BYTES).equals(right)) outcome.wrong.push(`id ${slot}`)
    }
  }

  async #reader(parts: HomeParts): Promise<VersionReader> {
    const { meta } = logKeysOf(this.#log)
    const source = new BlockSource(parts.host, parts.local, new LogTable([this.#log]))
    const [block] = await source.read(0, [this.#at])
    const record = openVersion(block, this.#log, this.#at, meta, this.#version)
    return new VersionReader(record, source, () => meta)
  }

  async #open(parts: HomeParts, overlay: Overlay): Promise<Volume> {
    const version = await this.#reader(parts)
    const base = new MapBase({
      sizeBytes: SIZE_BYTES,
      map: version.map('disk0'),
      reader: new BlockSource(parts.host, parts.local, new LogTable([this.#log])),
      logKey: () => this.#log,
      dataKey: () => logKeysOf(this.#log).data,
      cache: new SegmentCache()
    })
    return new Volume(base, overlay)
  }

  #openOverlay(parts: HomeParts): Promise<Overlay> {
    return Overlay.open(this.#path('disk0.overlay'), {
      unsealKey: (sealed) => unsealOverlayKey(sealed, parts.overlayKey)
    })
  }

  #writeIds(): void {
    for (let chunk = 0; chunk < CHUNKS; chunk++) {
      writeChunkId(this.#ids, chunk, this.#base, chunk * CHUNK_BYTES, this.#dedupKey)
    }
  }

  #chunk(content: Buffer, chunk: number): Buffer {
    return content.subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES)
  }

  #path(name: string): string {
    return path.join(this.directory, name)
  }
}

function note(outcome: Outcome, err: unknown): void {
  const code = err instanceof HyperparcelError ? err.code : `uncoded ${String(err)}`
  if (!outcome.codes.includes(code)) outcome.codes.push(code)
}
