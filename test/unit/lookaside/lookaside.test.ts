/** What is plugged in is found, lost and found again, through the real process. */
import { mkdir, rename } from 'node:fs/promises'
import path from 'node:path'
import test from 'brittle'
import { Lookaside } from '../../../lib/daemon/lookaside/lookaside.ts'
import { mountedMedia } from '../../../lib/daemon/lookaside/media.ts'
import type { FleetNode } from '../../../lib/daemon/node.ts'
import { NearbyProcess, Reader, STICK_KEY, fillStick } from '../../helpers/sticks.ts'
import { createLogStore } from '../../helpers/stores.ts'
import { until } from '../../helpers/until.ts'

const CONTEXT = { progress() {}, signal: new AbortController().signal }

test('media are found in the table of mounts', (t) => {
  const table = [
    '22 1 8:1 / / rw - ext4 /dev/sda1 rw',
    '90 22 8:17 / /media/ann/MY\\040STICK rw,nosuid - vfat /dev/sdb1 rw',
    '91 22 8:33 / /run/media/ann/b rw - exfat /dev/sdc1 rw',
    '92 22 0:40 / /mnt/share rw - nfs4 host:/ rw',
    ''
  ].join('\n')
  t.alike(mountedMedia(table), ['/media/ann/MY STICK', '/run/media/ann/b'])
})

test('a stick is used when it is plugged in', { timeout: 120_000 }, async (t) => {
  const home = await createLogStore(t)
  const log = await home.current('parcel:a')
  await log.append(Array.from({ length: 10 }, (_, i) => Buffer.alloc(1000, i + 1)))
  await home.flush()
  const directory = await t.tmp()
  const medium = path.join(directory, 'medium')
  await mkdir(medium)
  const nearby = new NearbyProcess()
  t.teardown(() => nearby.worker.close())
  await fillStick(nearby, medium, log)

  const reader = new Reader(t, await createLogStore(t))
  const node = {
    paths: { home: directory },
    settings: {},
    registry: { keyring: { stickKey: STICK_KEY, dedupKey: Buffer.alloc(32, 1) } },
    runners: { tellSeeds: async () => {} },
    network: reader,
    store: reader.store,
    logger: { warn() {} }
  } as unknown as FleetNode
  let media: string[] = []
  const lookaside = new Lookaside(node, { media: async () => media, pollMs: 50 })
  await lookaside.start()
  t.teardown(() => lookaside.close(), { order: -4 })
  await lookaside.look()
  t.alike(lookaside.list(), [])
  await t.exception(lookaside.add(path.join(directory, 'nothing'), CONTEXT), /There is no/)
  const empty = path.join(directory, 'empty')
  await mkdir(empty)
  await t.exception(lookaside.add(empty, CONTEXT), /There are no data/)

  media = [medium, directory]
  await reader.fetcher.fetch(log.key, [0, 1, 2], { priority: 'hoard' })
  t.is(lookaside.list().length, 1, 'what is no stick is left alone')
  t.ok(lookaside.list()[0].auto)
  await until(() => lookaside.hits(medium).blocks === 3)

  media = []
  await lookaside.look()
  t.alike(lookaside.list(), [], 'gone')
  const waiting = reader.fetcher.fetch(log.key, [3], { priority: 'hoard' })
  const elsewhere = path.join(directory, 'elsewhere')
  await rename(medium, elsewhere)
  media = [elsewhere]
  await waiting
  t.pass('back at another place')
  await until(() => lookaside.hits(elsewhere).blocks === 1)
  await lookaside.add(elsewhere, CONTEXT)
  t.absent(lookaside.list()[0].auto)

  lookaside.process.kill()
  await reader.fetcher.fetch(log.key, [4], { priority: 'hoard' })
  t.pass('a process that ended is started again')
  await lookaside.remove(elsewhere)
  await t.exception(lookaside.remove(elsewhere), /not in the list/)
})
