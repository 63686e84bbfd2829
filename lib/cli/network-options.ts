/** `--bootstrap` and `--no-lan`, the same for `init`, `join` and `daemon run`. */
import type { Command } from 'commander'
import type { NetworkParams } from '../daemon/api.ts'
import { parseNodes } from './parse.ts'

export interface NetworkOptions {
  bootstrap?: string[]
  /** Commander sets `true` where `--no-lan` was not given. */
  lan: boolean
}

export function networkOptions(command: Command): void {
  command
    .option('--bootstrap <host:port,…>', 'find peers through a private DHT (kept)', parseNodes)
    .option('--no-lan', 'do not look for peers on the local network (kept)')
}

/** Only what was said: the rest stays as stored. */
export function networkParams(options: NetworkOptions): NetworkParams {
  const params: NetworkParams = {}
  if (options.bootstrap !== undefined) params.bootstrap = options.bootstrap
  if (!options.lan) params.lan = false
  return params
}
