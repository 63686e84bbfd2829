/**
 * A Protomux channel with messages from a table of codecs. What does not decode is the peer's fault and goes to
 * `onviolation`; it never throws into Protomux, which would end the process for some error classes.
 *
 * Both sides may open it at any time: the far side's opening makes us open ours again (`Peer` pairs it).
 */
import type Protomux from 'protomux'
import { HyperparcelError } from '../base/errors.ts'
import { decodeWith, uint, type Codec } from '../format/fields.ts'

// oxlint-disable-next-line typescript/no-explicit-any -- each entry has a type of its own
type Table = Record<string, Codec<any>>
type ValueOf<C> = C extends Codec<infer T> ? T : never
export type Receivers<T extends Table> = { [K in keyof T]: (message: ValueOf<T[K]>) => void }
export type Senders<T extends Table> = { [K in keyof T]: (message: ValueOf<T[K]>) => boolean }

export interface ChannelOptions<T extends Table> {
  protocol: string
  version: number
  messages: T
  receivers: Receivers<T>
  /** Both sides have it open. */
  onopen(): void
  onclose(): void
  ondrain?(): void
  onviolation(err: HyperparcelError): void
}

export interface MessageChannel<T extends Table> {
  readonly send: Senders<T>
  /** False while the stream asks to wait for `ondrain`. */
  readonly drained: boolean
  readonly closed: boolean
  /** What is sent meanwhile goes out together. */
  together(send: () => void): void
  close(): void
}

/** Null when the connection is gone or the channel is open already. */
export function openChannel<T extends Table>(
  mux: Protomux,
  opts: ChannelOptions<T>
): MessageChannel<T> | null {
  const channel = mux.createChannel<number>({
    protocol: opts.protocol,
    handshake: safeUint,
    onopen(version) {
      if (version === opts.version) return opts.onopen()
      // A newer peer speaks our version too, if it still can, in a channel of its own.
      channel!.close()
    },
    onclose: () => opts.onclose(),
    ondrain: () => opts.ondrain?.()
  })
  if (channel === null) return null
  const send = {} as Senders<T>
  for (const name of Object.keys(opts.messages) as (keyof T & string)[]) {
    const codec = opts.messages[name]
    const message = channel.addMessage<unknown>({
      encoding: {
        preencode: (state, value) => codec.preencode(state, value),
        encode: (state, value) => codec.encode(state, value),
        decode: takeAll
      },
      onmessage(raw) {
        try {
          opts.receivers[name](decodeWith(codec, raw as Buffer))
        } catch (err) {
          if (!(err instanceof HyperparcelError)) throw err
          opts.onviolation(err)
        }
      }
    })
    send[name] = (value) => message.send(value)
  }
  channel.open(opts.version)
  return {
    send,
    get drained() {
      return channel.drained
    },
    get closed() {
      return channel.closed
    },
    together(sendAll) {
      mux.cork()
      try {
        sendAll()
      } finally {
        mux.uncork()
      }
    },
    close: () => channel.close()
  }
}

/** Anything at all: the version is compared, not trusted. */
const safeUint: Codec<number> = {
  preencode: uint.preencode,
  encode: uint.encode,
  decode(state) {
    try {
      return uint.decode(state)
    } catch {
      return -1
    }
  }
}

function takeAll(state: Protomux.State): Buffer {
  const { buffer, start, end } = state
  state.start = end
  return Buffer.from(buffer!.buffer, buffer!.byteOffset + start, end - start)
}
