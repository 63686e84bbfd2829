/**
 * What the daemon asks the process that reads and writes what lies nearby, over `ipc/channel.ts`. Keys, ids and logs are
 * hex. Proofs travel as attachments, encoded as on the wire between devices.
 */
export type LookKind = 'stick' | 'image' | 'directory'

export interface StickInfo {
  folder: string
  /** Changes with every fill. */
  stamp: string
  /** What it holds all of; null while it is being filled. */
  version: { id: string; number: number; parcel: string; annex: StickAnnex | null } | null
  damaged: boolean
  bytes: number
}

export interface StickAnnex {
  log: string
  block: number
}

export interface Looked {
  path: string
  /** Null where nothing is there. */
  kind: LookKind | null
  sticks: StickInfo[]
  /** Of an image file. */
  bytes: number
  /** Folders that other fleets filled. */
  foreign: number
  /** What is wrong with it. */
  note: string | null
}

export interface StickPlace {
  folder: string
  log: string
}

export interface FillBegin {
  /** The medium. */
  path: string
  parcel: string
  cards: string[]
  /** Only for tests. */
  partBytes?: number
}

export interface LookasideApi {
  start: { params: { stickKey: string }; result: null }
  look: { params: { paths: string[] }; result: { found: Looked[] } }
  'stick.cards': { params: { folder: string }; result: { cards: string[] } }
  'stick.log': {
    params: StickPlace
    result: { length: number; runs: [number, number][] } | null
  }
  /** The proof is attached; null where the block is not to be had. */
  'stick.block': {
    params: StickPlace & { index: number; nodes: number }
    result: { nodes: number } | null
  }
  /** The proof is attached. */
  'stick.length': { params: StickPlace & { from: number }; result: { length: number } | null }
  'fill.begin': { params: FillBegin; result: { fill: number; folder: string } }
  /** With a proof of the log's length from 0. */
  'fill.need': {
    params: { fill: number; log: string; runs: [number, number][] }
    result: { missing: [number, number][]; renew: number[] }
  }
  /** With a proof of its length from elsewhere. */
  'fill.cover': { params: { fill: number; log: string }; result: null }
  'fill.room': { params: { fill: number; bytes: number }; result: null }
  /** With proofs of blocks, each with its length before it (u32le). `renew`: without their data. */
  'fill.blocks': { params: { fill: number; log: string; renew: boolean }; result: null }
  'fill.end': {
    params: {
      fill: number
      version: { id: string; number: number; parcel: string; annex: StickAnnex | null }
    }
    result: { bytes: number; written: number }
  }
  'fill.stop': { params: { fill: number }; result: null }
}
