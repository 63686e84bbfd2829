/** What we use of protomux 3.12. */
declare module 'protomux' {
  namespace Protomux {
    interface State {
      buffer: Uint8Array | null
      start: number
      end: number
    }

    interface Encoding<T> {
      preencode(state: State, value: T): void
      encode(state: State, value: T): void
      decode(state: State): T
    }

    interface Message<T> {
      /** False when the stream asks to wait for `ondrain`. */
      send(value: T): boolean
    }

    interface Channel {
      readonly opened: boolean
      readonly closed: boolean
      /** False while the stream asks to wait for `ondrain`. */
      readonly drained: boolean
      open(handshake?: unknown): void
      close(): void
      addMessage<T>(opts: { encoding: Encoding<T>; onmessage(value: T): void }): Message<T>
    }

    interface ChannelOptions<H> {
      protocol: string
      id?: Buffer | null
      handshake?: Encoding<H>
      onopen?(handshake: H): void
      onclose?(isRemote: boolean): void
      ondrain?(): void
    }
  }

  class Protomux {
    readonly stream: unknown
    static from(stream: unknown): Protomux
    /** Null when the stream is gone or such a channel is open already. */
    createChannel<H>(opts: Protomux.ChannelOptions<H>): Protomux.Channel | null
    /** Calls back when the far side opens a channel that we do not have open. */
    pair(opts: { protocol: string; id?: Buffer | null }, notify: () => void): void
    unpair(opts: { protocol: string; id?: Buffer | null }): void
    cork(): void
    uncork(): void
    destroy(err?: Error): void
  }

  export = Protomux
}
