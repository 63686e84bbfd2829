/** `node vmm-child.js DIRECTORY`: boots a guest there, prints its pid, and waits to be killed. */
import { QemuDriver } from '../../lib/vmm/qemu/driver.ts'
import { GuestHost } from './guest.ts'

const host = await GuestHost.boot(process.argv[2], 128 * 1024 * 1024)
const driver = new QemuDriver({ cacheDirectory: null, accelerator: 'tcg' })
const vm = await driver.launch(host.spec(await host.plan(driver), false))
await vm.cont()
console.log(vm.pid)
