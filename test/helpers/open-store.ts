/** `open-store.js DIRECTORY TIMEOUT_MS`: opens that store and prints how that went. */
import { exit } from '../../lib/base/exit.ts'
import { LogStore } from '../../lib/store/log-store.ts'

const [directory, timeoutMs] = process.argv.slice(2)
const store = new LogStore({ directory, openTimeoutMs: Number(timeoutMs) })
try {
  await store.ready()
  await store.close()
  process.stdout.write('opened')
} catch (err) {
  process.stdout.write((err as { code: string }).code)
}
exit(0)
