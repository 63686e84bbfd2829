/**
 * The daemon as the runner sees it. The daemon connects, and connects again after a restart.
 */
import { EventEmitter, once } from 'node:events'
import { HyperparcelError } from '../base/errors.ts'
import type { Answer, CallOptions, Channel } from '../ipc/channel.ts'
import type { HostApi } from './protocol.ts'

/** Emits `attach` when a daemon is there, `detach` when it is gone. */
export class Host extends EventEmitter {
  #channel: Channel | null = null

  constructor() {
    super()
    this.setMaxListeners(0)
  }

  get attached(): boolean {
    return this.#channel !== null
  }

  attach(channel: Channel): void {
    this.#channel = channel
    channel.once('close', () => {
      if (this.#channel !== channel) return
      this.#channel = null
      this.emit('detach')
    })
    this.emit('attach')
  }

  /** Resolves when a daemon is there, or with false when the time is up. */
  async attachedWithin(timeoutMs: number): Promise<boolean> {
    if (this.attached) return true
    if (timeoutMs <= 0) return false
    try {
      await once(this, 'attach', { signal: AbortSignal.timeout(Math.ceil(timeoutMs)) })
      return true
    } catch {
      return false
    }
  }

  /** Rejects with `DAEMON_GONE` when no daemon is there, or when it goes before it answered. */
  async call<M extends keyof HostApi>(
    method: M,
    params: HostApi[M]['params'],
    opts: CallOptions = {}
  ): Promise<Answer<HostApi[M]['result']>> {
    if (this.#channel === null) throw gone()
    try {
      return await this.#channel.callRaw<HostApi[M]['result']>(method, params, opts)
    } catch (err) {
      throw isGone(err) ? gone() : err
    }
  }
}

function isGone(err: unknown): boolean {
  return (err as { code?: string }).code === 'CHANNEL_CLOSED'
}

function gone(): HyperparcelError {
  return new HyperparcelError('DAEMON_GONE', 'The daemon is not there', {
    hint: 'Any command starts it again; the VM is unharmed.'
  })
}
