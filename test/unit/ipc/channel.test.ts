import test from 'brittle'
import { once } from 'node:events'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { HyperparcelError } from '../../../lib/base/errors.ts'
import { Channel, Reply, type RequestContext } from '../../../lib/ipc/channel.ts'
import { listenUnix } from '../../../lib/ipc/endpoint.ts'
import { FRAME, writeFrame } from '../../../lib/ipc/frame.ts'
import { channelPair, socketPair } from '../../helpers/channels.ts'
import { until } from '../../helpers/until.ts'

test('both sides ask, with bytes, events and errors', async (t) => {
  const shared = {
    add: ({ a, b }: { a: number; b: number }) => a + b,
    nothing: () => undefined,
    reverse: (_: null, { attachment }: RequestContext) => {
      return new Reply({ bytes: attachment.byteLength }, [Buffer.from(attachment).reverse()])
    },
    count: async (n: number, { event }: RequestContext) => {
      for (let i = 0; i < n; i++) event(i)
      return 'done'
    },
    fail: () => {
      throw new HyperparcelError('NO', 'It does not go', { hint: 'Wait.', context: { at: 1 } })
    },
    crash: () => (null as unknown as { x: number }).x
  }
  const { near, far } = await channelPair(t, shared, shared)
  for (const side of [near, far]) {
    t.is(await side.call('add', { a: 1, b: 2 }), 3)
    t.is(await side.call('nothing', null), null)
    const some = [Buffer.from('abc'), Buffer.from('def')]
    const answer = await side.callRaw('reverse', null, { attachments: some })
    t.alike([answer.json, answer.attachment.toString()], [{ bytes: 6 }, 'fedcba'])
    const events: unknown[] = []
    t.is(await side.call('count', 5, { onevent: (e) => void events.push(e) }), 'done')
    t.alike(events, [0, 1, 2, 3, 4])
    const failure = await rejection(side.call('fail', null))
    t.alike(failure.toJSON(), {
      code: 'NO',
      message: 'It does not go',
      hint: 'Wait.',
      context: { at: 1 }
    })
    t.is((await rejection(side.call('crash', null))).code, 'INTERNAL')
    for (const name of ['missing', 'toString', '__proto__', 'constructor']) {
      t.is((await rejection(side.call(name, null))).code, 'UNKNOWN_METHOD', name)
    }
  }
})

test('answers that cannot be sent are errors of their call alone', async (t) => {
  const loop: { loop?: unknown } = {}
  loop.loop = loop
  const far = {
    huge: () => new Reply(null, [Buffer.alloc(33 * 1024 * 1024)]),
    cyclic: () => loop,
    context: () => {
      throw new HyperparcelError('NO', 'x', { context: loop })
    },
    ok: () => 1
  }
  const { near } = await channelPair(t, {}, far)
  t.is((await rejection(near.call('huge', null))).code, 'INTERNAL')
  t.is((await rejection(near.call('cyclic', null))).code, 'INTERNAL')
  t.is((await rejection(near.call('context', null))).code, 'NO')
  await t.exception(near.call('ok', null, { attachments: [Buffer.alloc(33 * 1024 * 1024)] }))
  t.is(await near.call('ok', null), 1)
})

test('cancelling reaches the handler, and what comes later is ignored', async (t) => {
  let reason: unknown = null
  let sendLate: (json: unknown) => void = () => {}
  const far = {
    wait: async (_: null, { signal, event }: RequestContext) => {
      sendLate = event
      await once(signal, 'abort')
      reason = signal.reason
      event('late')
      return 'late'
    },
    ok: () => 1
  }
  const { near } = await channelPair(t, {}, far)
  const abort = new AbortController()
  const events: unknown[] = []
  const call = near.call('wait', null, {
    signal: abort.signal,
    onevent: (e) => void events.push(e)
  })
  await near.call('ok', null)
  abort.abort(new HyperparcelError('INTERRUPTED', 'enough'))
  t.is((await rejection(call)).message, 'enough')
  await until(() => reason !== null)
  t.is((reason as HyperparcelError).code, 'INTERRUPTED')
  sendLate('after the end')
  t.is(await near.call('ok', null), 1, 'the channel goes on')
  t.alike(events, [])
  t.is((await rejection(near.call('ok', null, { signal: abort.signal }))).message, 'enough')
})

test('when the socket closes, calls reject and handlers hear of it', async (t) => {
  const aborted: unknown[] = []
  const far = {
    wait: async (_: null, { signal, event }: RequestContext) => {
      await once(signal, 'abort')
      aborted.push((signal.reason as HyperparcelError).code)
      event('nobody hears it')
      throw new Error('nobody hears this either')
    }
  }
  const pair = await channelPair(t, {}, far)
  const calls = [1, 2, 3].map(() => rejection(pair.near.call('wait', null)))
  await sleep(20)
  let closes = 0
  pair.near.on('close', () => closes++)
  pair.near.close()
  t.alike(
    (await Promise.all(calls)).map((err) => err.code),
    ['CHANNEL_CLOSED', 'CHANNEL_CLOSED', 'CHANNEL_CLOSED']
  )
  await until(() => aborted.length === 3)
  t.alike(aborted, ['CHANNEL_CLOSED', 'CHANNEL_CLOSED', 'CHANNEL_CLOSED'])
  t.is((await rejection(pair.near.call('wait', null))).code, 'CHANNEL_CLOSED')
  t.is(closes, 1)
  t.ok(pair.near.closed && pair.far.closed)
})

test('malformed frames cost the connection, and the process lives on', async (t) => {
  const frame = (kind: number, id: number, json: Buffer, jsonBytes = json.byteLength): Buffer => {
    const head = Buffer.alloc(13)
    head.writeUInt32LE(9 + json.byteLength, 0)
    head.writeUInt8(kind, 4)
    head.writeUInt32LE(id, 5)
    head.writeUInt32LE(jsonBytes, 9)
    return Buffer.concat([head, json])
  }
  const text = (json: string) => Buffer.from(json)
  const bad: Record<string, Buffer> = {
    'a huge length': Buffer.from('ffffffff', 'hex'),
    'a length just over the limit': Buffer.from('01000002', 'hex'),
    'a short length': Buffer.from('0800000000000000', 'hex'),
    'an unknown kind': frame(9, 1, text('{}')),
    'no JSON': frame(FRAME.REQUEST, 1, text('{"method":')),
    'JSON longer than the frame': frame(FRAME.REQUEST, 1, text('{}'), 1000),
    'a request of nothing': frame(FRAME.REQUEST, 1, text('')),
    'a request of null': frame(FRAME.REQUEST, 1, text('null')),
    'a request of a number': frame(FRAME.REQUEST, 1, text('7')),
    'a request without a method': frame(FRAME.REQUEST, 1, text('{"params":1}')),
    'a method that is an object': frame(FRAME.REQUEST, 1, text('{"method":{"toString":1}}')),
    'an id used twice': Buffer.concat([
      frame(FRAME.REQUEST, 1, text('{"method":"wait"}')),
      frame(FRAME.REQUEST, 1, text('{"method":"wait"}'))
    ]),
    'an error to a call that is not an error': frame(FRAME.ERROR, 1, text('null')),
    'an error without a code': frame(FRAME.ERROR, 1, text('{"message":"x"}'))
  }
  for (const [name, bytes] of Object.entries(bad)) {
    const { near, far } = await socketPair(t)
    const aborted: unknown[] = []
    const channel = new Channel(far, {
      wait: async (_: unknown, { signal }: RequestContext) => {
        await once(signal, 'abort')
        aborted.push(1)
      }
    })
    const pending = rejection(channel.call('hello', null)) // has id 1
    near.on('error', () => {}).resume()
    // In two pieces, the second of which comes when the first was seen.
    near.write(bytes.subarray(0, bytes.byteLength - 1))
    await sleep(5)
    near.write(bytes.subarray(bytes.byteLength - 1))
    await until(() => channel.closed)
    t.is((await pending).code, 'CHANNEL_CLOSED', name)
    if (name === 'an id used twice') {
      await until(() => aborted.length > 0)
      t.is(aborted.length, 1, 'one handler ran')
    }
  }
})

test('answers, events and cancels of calls that nobody made are ignored', async (t) => {
  const { near, far } = await socketPair(t)
  const channel = new Channel(far, { ok: () => 1 })
  for (const kind of [FRAME.RESPONSE, FRAME.EVENT, FRAME.CANCEL]) writeFrame(near, kind, 77, 1)
  writeFrame(near, FRAME.ERROR, 77, { code: 'X', message: 'x' })
  const other = new Channel(near)
  t.is(await other.call('ok', null), 1)
  t.absent(channel.closed)
})

test('one who does not read holds callers and answers back, and gets everything in the end', async (t) => {
  const { near, far } = await socketPair(t)
  const block = Buffer.alloc(4 * 1024 * 1024, 7)
  let read = 0
  const server = new Channel(far, { block: () => (read++, new Reply(null, [block])) })
  const client = new Channel(near)
  near.pause()
  const calls = Array.from({ length: 40 }, () => client.callRaw('block', null))
  await until(() => read === 40)
  await sleep(50)
  t.ok(far.writableLength < 2 * block.byteLength, `${far.writableLength} bytes wait in the socket`)
  near.resume()
  const answers = await Promise.all(calls)
  t.ok(answers.every(({ attachment }) => attachment.equals(block)))

  far.pause()
  let sent = 0
  const more = Array.from({ length: 40 }, () =>
    client.callRaw('block', null, { attachments: [block] }).then(() => sent++)
  )
  await sleep(50)
  t.ok(near.writableLength < 2 * block.byteLength, `${near.writableLength} bytes wait to be sent`)
  far.resume()
  await Promise.all(more)
  t.is(sent, 40)
  t.absent(server.closed)
})

test('too many requests at once are refused one by one', async (t) => {
  let release: () => void = () => {}
  const released = new Promise<void>((resolve) => (release = resolve))
  const { near } = await channelPair(t, {}, { wait: () => released })
  const calls = Array.from({ length: 5000 }, () =>
    near.call('wait', null).then(
      () => 'ok',
      (err: HyperparcelError) => err.code
    )
  )
  await t.exception(
    Promise.race(calls).then((first) => Promise.reject(new Error(first))),
    /TOO_MANY/
  )
  release()
  const ends = await Promise.all(calls)
  t.is(ends.filter((end) => end === 'ok').length, 4096)
})

async function rejection(call: Promise<unknown>): Promise<HyperparcelError> {
  try {
    await call
  } catch (err) {
    return err as HyperparcelError
  }
  throw new Error('it did not reject')
}

test('memory that was given back carries the next attachment', async (t) => {
  const memory = new Set<unknown>()
  const seen: boolean[] = []
  const big = (fill: number) => Buffer.alloc(300_000 + fill, fill)
  const file = path.join(await t.tmp(), 's')
  const server = await listenUnix(file, (socket) => {
    const channel = new Channel(socket)
    void (async () => {
      for (const fill of [1, 2, 3]) await channel.call('take', fill, { attachments: [big(fill)] })
      await channel.call('keep', 4, { attachments: [big(4)] })
      await channel.call('take', 5, { attachments: [big(5)] })
      server.emit('done')
    })()
  })
  let kept: Buffer = Buffer.alloc(0)
  const near = await Channel.connect(file, {
    take: (fill: number, { attachment, recycle }) => {
      seen.push(attachment.equals(big(fill)))
      memory.add(attachment.buffer)
      recycle()
    },
    keep: (_fill: number, { attachment }) => {
      kept = attachment
    }
  })
  await once(server, 'done')
  t.alike(seen, [true, true, true, true])
  t.ok(kept.equals(big(4)), 'what was not given back is left alone')
  t.ok(memory.size < 4, 'memory was used again')
  near.close()
  server.close()
})
