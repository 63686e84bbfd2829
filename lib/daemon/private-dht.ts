/** A DHT of one's own, for networks without Internet. */
import { HyperparcelError } from '../base/errors.ts'

export interface PrivateDht {
  /** `host:port`, for `--bootstrap`. */
  bootstrap: string
  close(): Promise<void>
}

export function openPrivateDht(_opts: { host: string; port: number }): Promise<PrivateDht> {
  return Promise.reject(
    new HyperparcelError('NOT_IMPLEMENTED', 'The private DHT is not part of this build yet')
  )
}
