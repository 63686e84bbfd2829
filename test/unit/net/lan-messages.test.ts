import { randomBytes } from 'node:crypto'
import type { NetworkInterfaceInfo } from 'node:os'
import test from 'brittle'
import dns from 'dns-packet'
import HyperDHT from 'hyperdht'
import {
  PATH_MESSAGES,
  PRELUDE_BYTES,
  decodePrelude,
  encodePrelude
} from '../../../lib/format/lan.ts'
import { decodeWith, encodeWith } from '../../../lib/format/fields.ts'
import { AddressBook } from '../../../lib/net/lan/address-book.ts'
import { CallLimits } from '../../../lib/net/lan/call-limits.ts'
import { createHello, isHelloOf } from '../../../lib/net/lan/hello.ts'
import { isOnLink, lanInterfaces } from '../../../lib/net/lan/interfaces.ts'
import { decodePacket, encodeAnnouncement, encodeQuery } from '../../../lib/net/lan/records.ts'

const target = { secret: Buffer.alloc(32, 1), publicKey: Buffer.alloc(32, 2) }
const nonce = Buffer.from('0011223344556677', 'hex')
const HELLO = '00112233445566779e67b8b7719268f29eca61971c7da917'

test('hello, prelude and path messages, byte for byte', async (t) => {
  const hello = createHello(target, nonce)
  t.is(hello.toString('hex'), HELLO)
  t.is(encodePrelude(hello).toString('hex'), `48504c4e01${HELLO}`)
  t.alike(decodePrelude(encodePrelude(hello)), hello)
  t.is(decodePrelude(Buffer.alloc(PRELUDE_BYTES)), null)
  t.is(decodePrelude(encodePrelude(hello).subarray(1)), null)
  const newer = encodePrelude(hello)
  newer[4] = 2
  t.is(decodePrelude(newer), null)
  t.is(encodeWith(PATH_MESSAGES.ping, { id: 7 }).toString('hex'), '07')
  const endpoints = [{ host: '192.168.1.20', port: 49_757 }]
  const encoded = encodeWith(PATH_MESSAGES.endpoints, { endpoints })
  t.is(encoded.toString('hex'), '01c0a80114fd5dc2')
  t.alike(decodeWith(PATH_MESSAGES.endpoints, encoded), { endpoints })
  await t.exception(
    () => decodeWith(PATH_MESSAGES.endpoints, Buffer.from('01c0a8011400', 'hex')),
    /port/
  )
  await t.exception(
    () => decodeWith(PATH_MESSAGES.endpoints, Buffer.from('09', 'hex')),
    /more than 8/
  )
})

test('only who knows the secret recognises a hello', (t) => {
  t.ok(isHelloOf(createHello(target), target))
  t.unlike(createHello(target), createHello(target))
  t.absent(isHelloOf(createHello(target), { ...target, secret: Buffer.alloc(32, 3) }))
  t.absent(isHelloOf(createHello(target), { ...target, publicKey: HyperDHT.keyPair().publicKey }))
  t.absent(isHelloOf(Buffer.alloc(0), target))
})

test('announcements are DNS-SD', (t) => {
  const hello = createHello(target, nonce)
  const packet = encodeAnnouncement([hello], '192.168.1.20', 4000)
  const { answers, additionals } = dns.decode(packet)
  t.is(answers![0].data, `${HELLO}._hyperparcel._tcp.local`)
  t.alike(
    additionals!.map(({ type }) => type),
    ['SRV', 'A']
  )
  t.alike(decodePacket(packet), { asks: false, announced: [{ hello, port: 4000, gone: false }] })
  t.ok(decodePacket(encodeAnnouncement([hello], '192.168.1.20', 4000, true)).announced[0].gone)
  t.alike(decodePacket(encodeQuery()), { asks: true, announced: [] })
})

test('hostile packets say nothing and throw nothing', (t) => {
  const nothing = { asks: false, announced: [] }
  const name = (hello: string) => `${hello}._hyperparcel._tcp.local`
  const srv = (hello: string, port: number) =>
    dns.encode({
      type: 'response',
      answers: [{ name: name(hello), type: 'SRV', ttl: 1, data: { port, target: 'x.local' } }]
    })
  t.alike(decodePacket(srv('00', 1)), nothing, 'too short a name')
  t.alike(decodePacket(srv(HELLO, 0)), nothing, 'no port')
  t.is(decodePacket(srv(HELLO.toUpperCase(), 9)).announced.length, 1)
  t.alike(decodePacket(Buffer.alloc(2000)), nothing, 'too large')
  const many = Array.from({ length: 20 }, () => createHello(target))
  const long = dns.encode({
    type: 'response',
    answers: many.map((hello) => ({
      name: name(hello.toString('hex')),
      type: 'SRV',
      data: { port: 1, target: 'a' }
    }))
  })
  t.ok(decodePacket(long).announced.length <= 16)
  for (const whole of [encodeAnnouncement(many, '10.0.0.1', 1), encodeQuery(), long]) {
    for (let i = 0; i < 500; i++) {
      const bad = Buffer.from(whole.subarray(0, Math.floor(Math.random() * whole.byteLength)))
      for (let flips = 0; bad.byteLength > 0 && flips < 3; flips++) {
        bad[Math.floor(Math.random() * bad.byteLength)] = Math.floor(Math.random() * 256)
      }
      const { announced } = decodePacket(bad)
      if (announced.length > 16 || announced.some(({ port }) => !(port > 0)))
        t.fail(bad.toString('hex'))
    }
    decodePacket(randomBytes(300))
  }
})

test('interfaces with a private address, or those asked for', (t) => {
  const info = (cidr: string, internal = false): NetworkInterfaceInfo => ({
    address: cidr.split('/')[0],
    netmask: '',
    mac: '',
    family: 'IPv4',
    internal,
    cidr
  })
  const found = {
    lo: [info('127.0.0.1/8', true)],
    eth0: [info('192.168.1.20/24')],
    eth1: [info('8.8.8.8/24')],
    tun0: [info('10.0.0.1/32')]
  }
  const names = (choice: Parameters<typeof lanInterfaces>[1]) =>
    lanInterfaces(found, choice).map(({ name }) => name)
  t.alike(names('private'), ['eth0'])
  t.alike(names(['eth1', 'tun0']), ['eth1'])
  t.alike(names('loopback'), ['lo'])
  const [eth0] = lanInterfaces(found, 'private')
  t.ok(isOnLink('192.168.1.255', eth0))
  for (const host of ['192.168.2.1', '8.8.8.8', '::1', '192.168.1.300', 'a.b.c.d', '']) {
    t.absent(isOnLink(host, eth0), host)
  }
})

test('half-open calls are limited, in all and by address', (t) => {
  let nowMs = 0
  const clock = { now: () => nowMs, monotonic: () => nowMs, sleep: async () => {} }
  const limits = new CallLimits(clock)
  const enter = (host: string, times: number) =>
    Array.from({ length: times }, () => limits.enter(host)).filter(Boolean).length
  t.is(enter('a', 20), 8)
  t.is(enter('b', 20) + enter('c', 20) + enter('d', 20), 24, '32 in all')
  t.is(enter('e', 1), 0)
  limits.leave('a')
  t.is(enter('e', 1), 1)
  for (let i = 0; i < 7; i++) limits.leave('a')
  t.is(enter('a', 100), 7)
  for (let i = 0; i < 7; i++) limits.leave('a')
  t.is(enter('a', 10), 0, 'called too often')
  nowMs += 10_000
  t.is(enter('a', 1), 1)
})

test('an address is tried less and less, and soon again when it is heard', (t) => {
  const book = new AddressBook()
  const home = { host: '10.0.0.1', port: 1 }
  book.heard('a', home, 0, 1500)
  t.is(book.next('a', 1000), null, 'left to the other side')
  t.alike(book.next('a', 1500), home)
  t.is(book.next('a', 2000), null)
  t.alike(book.next('a', 2500), home)
  t.is(book.next('a', 4000), null)
  book.heard('a', home, 4000, 0)
  t.alike(book.next('a', 5000), home)
  for (let i = 0; i < 100; i++) book.heard('a', { host: '10.0.0.2', port: i + 1 }, 6000 + i, 0)
  let known = 0
  while (book.next('a', 6200) !== null) known++
  t.is(known, 8)
  book.keep(new Set())
  t.is(book.next('a', 1e9), null)
})
