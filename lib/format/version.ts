/**
 * The version record: everything one needs to resume or serve a version, sealed as the last block of its commit.
 * The version's id is the BLAKE2b-256 of these bytes. Byte table in `README.md`.
 */
import * as c from 'compact-encoding'
import type { State } from 'compact-encoding'
import sodium from 'sodium-universal'
import { HyperparcelError } from '../base/errors.ts'
import { DEVICE_STATE_BYTES_MAX, LOGS_PER_VERSION_MAX, VOLUME_BYTES_MAX } from '../base/limits.ts'
import { codeNodeRef, decodeSafely, type NodeRef } from './map.ts'

export const VERSION_FORMAT = 1
export const VERSION_BYTES_MAX = 1024 * 1024
const VOLUMES_MAX = 64
const STATE_BLOCKS_MAX = 65_536
const BLOCKS_MAX = 2 ** 32
/** As a registry record, which repeats it. */
const MESSAGE_BYTES_MAX = 4096
const CAUSE_BYTES_MAX = 64
const MACHINE_BYTES_MAX = 64 * 1024

/** A log that the version's blocks live in; its number is its place in the table. */
export interface LogRef {
  key: Buffer
  /** Blocks of it that the version may reference. */
  length: number
  /** Hash of its tree at that length. */
  treeHash: Buffer
}

export interface VolumeRecord {
  /** `disk0`, `memory`, `kernel`, … */
  name: string
  sizeBytes: number
  readOnly: boolean
  /** Where its map starts; null when it is all zeros. Its hash is the content root. */
  root: NodeRef | null
}

/** Device state: compressed pieces in consecutive blocks of one log. */
export interface StateRecord {
  log: number
  firstBlock: number
  blocks: number
  /** Decompressed. */
  bytes: number
}

export interface VersionRecord {
  parcel: Buffer
  /** 1, 2, 3 … along a chain of parents. */
  number: number
  /** Id of the version it was made from. */
  parent: Buffer | null
  /** Hash of the lease entry under which it was written. */
  lease: Buffer | null
  /** Public key of the device that wrote it. */
  author: Buffer
  /** Milliseconds since the epoch. */
  time: number
  message: string
  /** `create`, `suspend`, `checkpoint`, `poweroff`, `serve`, … */
  cause: string
  logs: LogRef[]
  volumes: VolumeRecord[]
  /** Null for a version that boots. */
  state: StateRecord | null
  /** `MachineConfig` as JSON; null for a parcel that has only volumes. */
  machine: string | null
  /** Bytes of chunks that were new, before and after compression and sealing. */
  bytesNew: number
  bytesStored: number
}

const hash32OrNull = {
  preencode(state: State, value: Buffer | null) {
    c.uint8.preencode(state, 0)
    if (value !== null) c.fixed32.preencode(state, value)
  },
  encode(state: State, value: Buffer | null) {
    c.uint8.encode(state, value === null ? 0 : 1)
    if (value !== null) c.fixed32.encode(state, value)
  },
  decode(state: State): Buffer | null {
    const flag = c.uint8.decode(state)
    if (flag > 1) throw invalid()
    return flag === 0 ? null : Buffer.from(c.fixed32.decode(state))
  }
}

type Part = 'preencode' | 'encode'

function code(part: Part, state: State, v: VersionRecord): void {
  c.uint8[part](state, VERSION_FORMAT)
  c.buffer[part](state, v.parcel)
  c.uint[part](state, v.number)
  hash32OrNull[part](state, v.parent)
  hash32OrNull[part](state, v.lease)
  c.fixed32[part](state, v.author)
  c.uint[part](state, v.time)
  c.utf8[part](state, v.message)
  c.utf8[part](state, v.cause)
  c.uint[part](state, v.logs.length)
  for (const log of v.logs) {
    c.fixed32[part](state, log.key)
    c.uint[part](state, log.length)
    c.fixed32[part](state, log.treeHash)
  }
  c.uint[part](state, v.volumes.length)
  for (const volume of v.volumes) {
    c.utf8[part](state, volume.name)
    c.uint[part](state, volume.sizeBytes)
    c.uint8[part](state, (volume.readOnly ? 1 : 0) | (volume.root === null ? 0 : 2))
    if (volume.root !== null) codeNodeRef[part](state, volume.root)
  }
  c.uint8[part](state, v.state === null ? 0 : 1)
  if (v.state !== null) {
    c.uint[part](state, v.state.log)
    c.uint[part](state, v.state.firstBlock)
    c.uint[part](state, v.state.blocks)
    c.uint[part](state, v.state.bytes)
  }
  c.utf8[part](state, v.machine ?? '')
  c.uint[part](state, v.bytesNew)
  c.uint[part](state, v.bytesStored)
}

/** Throws `FORMAT_INVALID` for what would not decode. */
export function encodeVersion(version: VersionRecord): Buffer {
  check(version)
  const state = c.state()
  code('preencode', state, version)
  state.buffer = Buffer.allocUnsafe(state.end)
  code('encode', state, version)
  return state.buffer as Buffer
}

/** The id of a version: hash of its record's bytes. */
export function versionId(encoded: Buffer): Buffer {
  const id = Buffer.allocUnsafeSlow(32)
  sodium.crypto_generichash(id, encoded)
  return id
}

/** Throws `FORMAT_INVALID`, or `FORMAT_TOO_NEW` for a record of a later release. */
export function decodeVersion(buffer: Buffer): VersionRecord {
  return decodeSafely('version record', buffer, (state) => {
    const format = c.uint8.decode(state)
    if (format > VERSION_FORMAT) {
      throw new HyperparcelError('FORMAT_TOO_NEW', `A version record has format ${format}`, {
        hint: 'It was written by a newer Hyperparcel: update this device.'
      })
    }
    const parcel = Buffer.from(c.buffer.decode(state) ?? [])
    if (format === 0 || parcel.byteLength !== 16) throw invalid()
    const number = c.uint.decode(state)
    const parent = hash32OrNull.decode(state)
    const lease = hash32OrNull.decode(state)
    const author = Buffer.from(c.fixed32.decode(state))
    const time = c.uint.decode(state)
    const message = c.utf8.decode(state)
    const cause = c.utf8.decode(state)
    const logs = list(state, LOGS_PER_VERSION_MAX, () => ({
      key: Buffer.from(c.fixed32.decode(state)),
      length: c.uint.decode(state),
      treeHash: Buffer.from(c.fixed32.decode(state))
    }))
    const volumes = list(state, VOLUMES_MAX, () => decodeVolume(state, logs.length))
    const stateFlag = c.uint8.decode(state)
    if (stateFlag > 1) throw invalid()
    const deviceState = stateFlag === 0 ? null : decodeState(state, logs.length)
    const machine = c.utf8.decode(state)
    return check({
      parcel,
      number,
      parent,
      lease,
      author,
      time,
      message,
      cause,
      logs,
      volumes,
      state: deviceState,
      machine: machine === '' ? null : machine,
      bytesNew: c.uint.decode(state),
      bytesStored: c.uint.decode(state)
    })
  })
}

/** What the fields alone do not tell. */
function check(version: VersionRecord): VersionRecord {
  const { number, message, cause, machine, logs, volumes } = version
  const tooLong =
    Buffer.byteLength(message) > MESSAGE_BYTES_MAX ||
    Buffer.byteLength(cause) > CAUSE_BYTES_MAX ||
    Buffer.byteLength(machine ?? '') > MACHINE_BYTES_MAX
  // Numbers in maps count in the table of logs, so nothing may be in it twice.
  const keys = new Set(logs.map((log) => log.key.toString('hex')))
  const names = new Set(volumes.map((volume) => volume.name))
  if (number < 1 || tooLong || keys.size < logs.length || names.size < volumes.length) {
    throw invalid()
  }
  return version
}

function decodeVolume(state: State, logs: number): VolumeRecord {
  const name = c.utf8.decode(state)
  const sizeBytes = c.uint.decode(state)
  const flags = c.uint8.decode(state)
  const root = (flags & 2) === 0 ? null : codeNodeRef.decode(state)
  if (!/^[a-z][a-z0-9-]{0,31}$/.test(name)) throw invalid()
  if (sizeBytes < 1 || sizeBytes > VOLUME_BYTES_MAX) throw invalid()
  if (flags > 3 || (root !== null && root.log >= logs)) throw invalid()
  return { name, sizeBytes, readOnly: (flags & 1) === 1, root }
}

function decodeState(state: State, logs: number): StateRecord {
  const record = {
    log: c.uint.decode(state),
    firstBlock: c.uint.decode(state),
    blocks: c.uint.decode(state),
    bytes: c.uint.decode(state)
  }
  if (
    record.log >= logs ||
    record.blocks > STATE_BLOCKS_MAX ||
    record.firstBlock + record.blocks > BLOCKS_MAX ||
    record.bytes > DEVICE_STATE_BYTES_MAX
  ) {
    throw invalid()
  }
  return record
}

function list<T>(state: State, max: number, decode: () => T): T[] {
  const count = c.uint.decode(state)
  if (count > max) throw invalid()
  const items: T[] = []
  for (let i = 0; i < count; i++) items.push(decode())
  return items
}

function invalid(): HyperparcelError {
  return new HyperparcelError('FORMAT_INVALID', 'A version record is not valid')
}
