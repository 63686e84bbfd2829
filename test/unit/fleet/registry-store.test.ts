/** The registry on the real store of logs. */
import test from 'brittle'
import path from 'node:path'
import { Registry, createFleet, loadIdentity } from '../../../lib/fleet/index.ts'
import { LogStore } from '../../../lib/store/log-store.ts'

test('records outlive restarts, retired logs and a lost store', async (t) => {
  const keysDirectory = await t.tmp()
  const directory = path.join(await t.tmp(), 'store')
  await createFleet({ keysDirectory, name: 'home' })

  const run = async (
    use: (registry: Registry, store: LogStore) => Promise<void>,
    at = directory
  ) => {
    const store = new LogStore({ directory: at })
    await store.ready()
    const identity = (await loadIdentity(keysDirectory))!
    const registry = new Registry({ identity, store, keysDirectory })
    registry.on('problem', (err: Error) => t.fail(err.message))
    await registry.ready()
    await use(registry, store)
    await registry.close()
    await store.close()
  }
  const names = (registry: Registry): string[] => registry.parcels().map(({ name }) => name)
  let log: Buffer

  await run(async (registry) => {
    const started = performance.now()
    for (let i = 0; i < 20; i++) await registry.createParcel(`one-${i}`)
    t.comment(`one after the other: ${Math.round((performance.now() - started) / 20)} ms a record`)
    const many = performance.now()
    await Promise.all([...Array(200).keys()].map((i) => registry.createParcel(`all-${i}`)))
    t.comment(`200 at once: ${Math.round(performance.now() - many)} ms`)
    log = registry.registryLogs()[0].log
  })
  await run(async (registry, store) => {
    t.is(names(registry).length, 220)
    t.alike(registry.registryLogs()[0].log, log, 'the same log after a clean restart')
    await store.retire(log)
    await registry.createParcel('after')
    t.unlike(registry.registryLogs()[0].log, log)
    t.is((await store.current('registry')).length, 2 + 221)
  })
  await run(async (registry) => {
    t.is(names(registry).length, 221)
  })

  // The store is gone: what stays is the identity, with the first records.
  const empty = path.join(await t.tmp(), 'store')
  await run(async (registry) => {
    t.alike(names(registry), [])
    t.is(registry.name, 'home')
    t.is(registry.registryLogs().length, 3, 'the former logs are waited for')
  }, empty)
})
