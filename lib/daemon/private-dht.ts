/** A DHT of one's own, for networks without Internet. */
import { PrivateDht } from '../net/dht.ts'

export interface RunningDht {
  /** `host:port`, for `--bootstrap`. */
  bootstrap: string
  close(): Promise<void>
}

/** Rejects with `PORT_IN_USE`. */
export async function openPrivateDht(opts: { host: string; port: number }): Promise<RunningDht> {
  const dht = new PrivateDht(opts)
  await dht.ready()
  return { bootstrap: dht.bootstrap.join(','), close: () => dht.close() }
}
