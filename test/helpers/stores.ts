/** Log stores for tests, closed with them. */
import type { Assert } from 'brittle'
import { LogStore } from '../../lib/store/log-store.ts'

export async function createLogStore(t: Assert, directory?: string): Promise<LogStore> {
  const store = new LogStore({ directory: directory ?? (await t.tmp()) })
  await store.ready()
  t.teardown(() => store.close(), { order: -1 })
  return store
}
