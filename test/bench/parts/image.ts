/** Real disk images, kept and shared: never written to. */
import { stat } from 'node:fs/promises'
import { buildDebianGuest } from '../../../examples/guest/debian.ts'
import type { Guest } from '../../../examples/guest/build.ts'
import { testCache, testGuest } from '../../helpers/guest.ts'
import type { BenchOptions } from '../framework.ts'

/** A whole Debian, about 600 MB of data in 4 GiB; small: busybox and little more. */
export function benchGuest(opts: BenchOptions): Promise<Guest> {
  return opts.small ? testGuest() : buildDebianGuest(testCache(), opts.log)
}

/** Bytes of a sparse image that are not holes. */
export async function dataBytes(image: string): Promise<number> {
  return (await stat(image)).blocks * 512
}
