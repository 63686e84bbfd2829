/** What we use of hypercore 11.37; shapes read from its source. */
declare module 'hypercore' {
  import type { EventEmitter } from 'node:events'

  namespace Hypercore {
    /** Of a whole Corestore; opaque. */
    interface Storage {
      readonly path: string
    }

    interface Node {
      index: number
      size: number
      hash: Buffer
    }

    /** Internal: the tree at a length, as signatures cover it. */
    interface TreeBatch {
      fork: number
      roots: Node[]
      length: number
      byteLength: number
      hashCached: Buffer | null
      hash(): Buffer
    }

    interface Proof {
      fork: number
      block: { index: number; value: Buffer | null; nodes: Node[] } | null
      hash: null
      seek: null
      upgrade: {
        start: number
        length: number
        nodes: Node[]
        additionalNodes: Node[]
        signature: Buffer
      } | null
      manifest: unknown
    }
  }

  class Hypercore extends EventEmitter {
    readonly key: Buffer
    readonly discoveryKey: Buffer
    readonly length: number
    readonly fork: number
    readonly writable: boolean
    readonly opened: boolean
    readonly byteLength: number
    readonly manifest: unknown
    /** Internal, but the only way to find runs of stored blocks; -1 where there is none. */
    readonly core: {
      bitfield: {
        get(index: number): boolean
        firstSet(position: number): number
        firstUnset(position: number): number
      }
      /** Internal: null before anything is known of the log. */
      readonly verifier: {
        verify(batch: Hypercore.TreeBatch, signature: Buffer): boolean
        sign(batch: Hypercore.TreeBatch, keyPair: unknown): Buffer
      } | null
      /** Internal too: one transaction of the store a call. */
      readonly state: {
        createWriteBatch(): { deleteTreeNode(index: number): void }
        createTreeBatch(): Hypercore.TreeBatch
        readonly storage: {
          read(): {
            getTreeNode(index: number): Promise<Hypercore.Node | null>
            tryFlush(): void
          }
        }
      }
    }

    /** Where a Corestore keeps its things; what it does not know of the options goes to RocksDB. */
    static defaultStorage(
      directory: string,
      opts: {
        readOnly?: boolean
        /** Share of the oldest files whose live values a compaction writes anew. */
        blobGarbageCollectionAgeCutOff?: number
        maxOpenFiles?: number
        writeBufferSize?: number
      }
    ): Hypercore.Storage

    static key(manifest: unknown): Buffer
    static discoveryKey(key: Buffer): Buffer
    /** Null or a throw for what is no manifest, or with `key` not the manifest of that key. */
    static parseManifest(raw: Buffer, key?: Buffer): unknown
    /** Unlike `treeHash`, never asks the network; throws `INVALID_OPERATION` where a node is missing. */
    static treeHashFromStorage(core: Hypercore, length?: number): Promise<Buffer>

    ready(): Promise<void>
    close(): Promise<void>
    has(start: number, end?: number): Promise<boolean>
    get(index: number, opts?: { wait?: boolean }): Promise<Buffer | null>
    append(blocks: Buffer[]): Promise<{ length: number; byteLength: number }>
    clear(start: number, end?: number): Promise<unknown>
    missingNodes(index: number): Promise<number>
    proof(opts: {
      block?: { index: number; nodes: number }
      upgrade?: { start: number; length: number }
    }): Promise<Hypercore.Proof>
    applyProof(proof: Hypercore.Proof): Promise<boolean>
    getManifest(opts: { raw: true }): Buffer | null
  }

  export = Hypercore
}
