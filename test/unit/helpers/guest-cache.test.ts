import { chmod, chown, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import test from 'brittle'
import { guestCache, openCache } from '../../../examples/guest/cache.ts'
import { need } from '../../helpers/requirements.ts'

test('guests are kept where only this user can put them', async (t) => {
  t.is(guestCache({ HOME: '/h' }), '/h/.cache/hyperparcel')
  t.is(guestCache({ HOME: '/h', XDG_CACHE_HOME: '/c' }), '/c/hyperparcel')
  t.is(guestCache({ HOME: '/h', XDG_CACHE_HOME: 'c' }), '/h/.cache/hyperparcel')
  t.is(guestCache({ HYPERPARCEL_DEMO_DIR: '/d', HOME: '/h' }), '/d/hyperparcel-cache')

  const base = await mkdtemp(path.join(os.tmpdir(), 'hpcache-'))
  t.teardown(() => rm(base, { recursive: true, force: true }))
  const own = path.join(base, 'a/b')
  await openCache(own)
  t.is((await stat(own)).mode & 0o022, 0)
  await openCache(own)

  await chmod(own, 0o777)
  await t.exception(openCache(own), { code: 'GUEST_CACHE_UNUSABLE' }, 'open to others')
  await writeFile(path.join(base, 'file'), '')
  const below = openCache(path.join(base, 'file/below'))
  await t.exception(below, { code: 'GUEST_CACHE_UNUSABLE' }, 'cannot be made')
})

test('a cache of another user is not trusted', async (t) => {
  if (!need(t, 'root')) return
  const base = await mkdtemp(path.join(os.tmpdir(), 'hpcache-'))
  t.teardown(() => rm(base, { recursive: true, force: true }))
  await openCache(base)
  await chown(base, 65_534, 65_534)
  await t.exception(openCache(base), { code: 'GUEST_CACHE_UNUSABLE' })
})
