/** What we use of corestore 7.12. */
declare module 'corestore' {
  import type { EventEmitter } from 'node:events'
  import type Hypercore from 'hypercore'

  interface CoreInfo {
    discoveryKey: Buffer
    auth: { key: Buffer } | null
    head: { length: number; fork: number } | null
  }

  class Corestore extends EventEmitter {
    readonly storage: {
      /** The key-value store beneath: RocksDB. */
      db: {
        flush(): Promise<void>
        compactRange(opts: {
          blobGarbageCollectionPolicy: number
          blobGarbageCollectionAgeCutoff?: number
          bottommostLevelCompaction: number
        }): Promise<void>
        getProperty(name: string): Promise<string>
      }
      close(): Promise<void>
      getInfos(discoveryKeys: Buffer[], opts?: { hints?: boolean }): Promise<(CoreInfo | null)[]>
    }

    constructor(storage: string | Hypercore.Storage, opts?: { readOnly?: boolean })
    ready(): Promise<void>
    close(): Promise<void>
    get(
      opts:
        | { key: Buffer; createIfMissing?: boolean; active?: boolean }
        | { name: string; active?: boolean }
    ): Hypercore
    /** Discovery keys of everything stored. */
    list(): AsyncIterable<Buffer>
  }

  export = Corestore
}
