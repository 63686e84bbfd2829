/**
 * This terminal ↔ the guest's serial console. On a terminal every key goes to the guest raw, Ctrl-C too, except
 * Ctrl-]. Without one, bytes pass until the end of input, then until the guest was silent for a moment.
 */
import type { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import type { Clock } from '../../base/clock.ts'
import type { Output } from '../ui/renderer.ts'

export interface BridgeOptions {
  socket: Socket
  stdin: Readable & { isTTY?: boolean; setRawMode?(raw: boolean): unknown }
  stdout: Output
  signal: AbortSignal
  clock: Clock
}

/** Why it ended: the user left, the far side closed, or the input was over. */
export type BridgeEnd = 'left' | 'closed' | 'ended'

const LEAVE = 0x1d // Ctrl-]
const RETURN = '\r'
/** After the end of input: the answer to the last line should still be seen. */
const SILENCE_MS = 1000

/** Rejects with the signal's reason. The terminal is as before when it settles. */
export async function bridge(opts: BridgeOptions): Promise<BridgeEnd> {
  const { socket, stdin, stdout, signal, clock } = opts
  const raw = stdin.isTTY === true && stdin.setRawMode !== undefined
  const restore = () => {
    if (raw) stdin.setRawMode!(false)
  }
  let heardAt = clock.monotonic()
  let inputOver = false
  let ondone: (end: BridgeEnd) => void
  let onfail: (err: Error) => void
  const done = new Promise<BridgeEnd>((resolve, reject) => {
    ondone = resolve
    onfail = reject
  })

  const ondata = (data: Buffer) => {
    heardAt = clock.monotonic()
    stdout.write(data)
  }
  const onkeys = (data: Buffer | string) => {
    const bytes = typeof data === 'string' ? Buffer.from(data) : data
    const leave = raw ? bytes.indexOf(LEAVE) : -1
    const sent = leave === -1 ? bytes : bytes.subarray(0, leave)
    if (sent.byteLength > 0 && !socket.write(sent)) {
      stdin.pause()
      socket.once('drain', () => stdin.resume())
    }
    if (leave !== -1) ondone('left')
  }
  const oninputend = () => {
    inputOver = true
    heardAt = clock.monotonic()
  }
  const onabort = () => onfail(signal.reason as Error)
  const silence = setInterval(() => {
    if (inputOver && clock.monotonic() - heardAt >= SILENCE_MS) ondone('ended')
  }, SILENCE_MS / 5)

  socket.on('data', ondata)
  socket.once('close', () => ondone('closed'))
  socket.once('error', () => ondone('closed'))
  signal.addEventListener('abort', onabort, { once: true })
  process.once('exit', restore)
  try {
    signal.throwIfAborted()
    if (raw) stdin.setRawMode!(true)
    stdin.on('data', onkeys)
    stdin.once('end', oninputend)
    // So that a prompt shows.
    socket.write(RETURN)
    return await done
  } finally {
    clearInterval(silence)
    signal.removeEventListener('abort', onabort)
    stdin.off('data', onkeys)
    stdin.off('end', oninputend)
    stdin.pause()
    socket.destroy()
    restore()
    process.off('exit', restore)
  }
}
