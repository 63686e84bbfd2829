/** What is particular to QEMU: lazy memory, faults that hang, full disks, deaths; and nothing is left behind. */
import { spawnSync } from 'node:child_process'
import { readFile, readdir, readlink, stat } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Readable } from 'node:stream'
import test, { type Assert } from 'brittle'
import { QemuDriver } from '../../lib/vmm/qemu/driver.ts'
import { unmount } from '../../lib/vmm/qemu/mounts.ts'
import { consoleOf, rejection, resumeCopy, shortTmp, suspend } from '../conformance/vmm-driver.ts'
import { startChild } from '../helpers/children.ts'
import { GuestHost } from '../helpers/guest.ts'
import { need, type RequirementName } from '../helpers/requirements.ts'

const NEEDS: RequirementName[] = ['qemu', 'fuse', 'bubblewrap', 'apt-get', 'e2fsprogs']
const TIMEOUT = { timeout: 180_000 }
const SECRET_MIB = 64
const MIB = 1024 * 1024

const driver = new QemuDriver({ cacheDirectory: null, accelerator: 'tcg' })

test('RAM, counters and uptime continue in a new QEMU, which reads little', TIMEOUT, async (t) => {
  if (!need(t, ...NEEDS)) return
  const { vm, host, machine, console } = await resumeCopy(t, driver)
  await vm.cont()
  const make = `head -c ${SECRET_MIB}m /dev/urandom > /run/big && sha256sum /run/big`
  const secret = await console.run(make, { timeoutMs: 90_000 })
  const before = await counters(console)
  const state = await suspend(vm)
  console.close()
  await vm.quit()

  const { memory } = host.devices
  memory.resetCounters()
  const times: Record<string, number> = {}
  const began = performance.now()
  const mark = (step: string) => (times[step] = Math.round(performance.now() - began))
  const again = await driver.launch(host.spec(machine, true))
  t.teardown(() => again.quit(), { order: 1 })
  mark('launched')
  await again.restoreState(Readable.from([state]))
  mark('restored')
  await again.cont()
  mark('running')
  const toRun = { bytes: memory.readBytes, reads: memory.reads }
  const second = consoleOf(t, host)
  await second.ready()
  mark('console')
  const toAnswer = { bytes: memory.readBytes, reads: memory.reads }
  t.comment(`device state: ${state.length} bytes; ms: ${JSON.stringify(times)}`)
  t.comment(`memory read until it ran: ${show(toRun)}, until it answered: ${show(toAnswer)}`)
  t.ok(toRun.bytes < 2 * MIB, 'almost nothing before it runs')
  const limit = process.getuid?.() === 0 ? 16 * MIB : 40 * MIB // read-ahead is for root to set
  t.ok(toAnswer.bytes < limit, 'a few MB before the console answers')
  t.is(host.devices['kernel'].reads, 0, 'the kernel is not read again')
  const after = await counters(second)
  t.ok(after.tick >= before.tick && after.tick < before.tick + 60, 'the counter went on')
  t.ok(after.uptime >= before.uptime && after.uptime < before.uptime + 60, 'and the uptime')
  t.is(await second.run('sha256sum /run/big', { timeoutMs: 60_000 }), secret)
  t.ok(memory.readBytes > SECRET_MIB * MIB, 'reading the secret did bring it in')
})

test('sockets are private, and quit leaves nothing behind', TIMEOUT, async (t) => {
  if (!need(t, ...NEEDS)) return
  const { vm, host } = await resumeCopy(t, driver)
  await vm.cont()
  for (const socket of [host.serialSocket, host.spec(await host.plan(driver), true).vncSocket]) {
    const { mode } = await stat(socket)
    t.is((mode & 0o777).toString(8), '600', path.basename(socket))
  }
  const limits = await readFile(`/proc/${vm.pid}/limits`, 'utf8')
  t.ok(/Max core file size\s+1\s+1\s/.test(limits), 'no core dump')
  const status = await readFile(`/proc/${vm.pid}/status`, 'utf8')
  t.ok(/^CapEff:\s+0+$/m.test(status), 'no capability')
  t.ok(/^Seccomp:\s+2$/m.test(status), 'a filter')
  t.not(await readlink(`/proc/${vm.pid}/ns/pid`), await readlink('/proc/self/ns/pid'))
  t.is((await mountsBelow(host)).length, 1, 'guest RAM is mounted')
  const { pid } = vm
  await vm.quit()
  await nothingLeft(t, host, pid)
})

test(
  'a stop behind a page that does not come times out, and the VM runs on',
  TIMEOUT,
  async (t) => {
    if (!need(t, ...NEEDS)) return
    const { vm, host, console } = await resumeCopy(t, driver)
    const { memory } = host.devices
    await vm.cont()
    memory.hold()
    await until(() => memory.held > 0)
    const began = performance.now()
    const err = await rejection(vm.stop(500))
    t.is(err?.code, 'VMM_STOP_TIMEOUT')
    t.ok(performance.now() - began < 3000, 'in time')
    memory.release()
    t.is(await console.run('cat /run/secret'), 'in RAM only', 'it runs on')
    await vm.stop(10_000)
    await vm.cont()
    t.is(await console.run('echo once more'), 'once more')
  }
)

test('a stop that is asked again while one hangs', TIMEOUT, async (t) => {
  if (!need(t, ...NEEDS)) return
  const { vm, host, console } = await resumeCopy(t, driver)
  const { memory } = host.devices
  await vm.cont()
  memory.hold()
  await until(() => memory.held > 0)
  t.is((await rejection(vm.stop(200)))?.code, 'VMM_STOP_TIMEOUT')
  const second = vm.stop(10_000)
  memory.release()
  await second
  t.absent(await answers(console), 'it stays stopped')
  await vm.cont()
  t.ok(await answers(console))
})

test('quit ends a VM whose page does not come', TIMEOUT, async (t) => {
  if (!need(t, ...NEEDS)) return
  const { vm, host } = await resumeCopy(t, driver)
  const { memory } = host.devices
  await vm.cont()
  memory.hold()
  await until(() => memory.held > 0)
  const { pid } = vm
  const began = performance.now()
  await vm.quit()
  t.ok(performance.now() - began < 4000)
  await nothingLeft(t, host, pid)
  t.is(host.exits[0].reason, 'quit')
})

test('a full disk pauses the VM, and cont repeats the write', TIMEOUT, async (t) => {
  if (!need(t, ...NEEDS)) return
  const { vm, host, console } = await resumeCopy(t, driver)
  await vm.cont()
  await console.ready()
  const { disk0 } = host.devices
  disk0.full = true
  const command =
    'head -c 1m /dev/urandom > /root/more; sync; sha256sum /root/more; dmesg | grep -c "I/O error"'
  const written = console.run(`${command}; true`, { timeoutMs: 60_000 })
  await until(() => host.pauses.length > 0)
  t.alike(host.pauses, ['ENOSPC'])
  disk0.full = false
  await vm.cont()
  const [sum, errors] = (await written).split('\n')
  t.is(errors, '0', 'the guest saw no error')
  await console.run('echo 3 > /proc/sys/vm/drop_caches')
  t.is(await console.run('sha256sum /root/more'), sum)
})

test('memory that cannot be written back is told, and stays told', TIMEOUT, async (t) => {
  if (!need(t, ...NEEDS)) return
  const { vm, host, console } = await resumeCopy(t, driver)
  await vm.cont()
  await console.run('head -c 4m /dev/urandom > /run/dirty')
  host.devices['memory'].full = true
  t.is((await rejection(vm.syncMemory()))?.code, 'MEMORY_SYNC_FAILED')
  host.devices['memory'].full = false
  t.is((await rejection(vm.syncMemory()))?.code, 'MEMORY_SYNC_FAILED')
})

test('a VMM that dies is told, and leaves nothing behind', TIMEOUT, async (t) => {
  if (!need(t, ...NEEDS)) return
  const { vm, host } = await resumeCopy(t, driver)
  await vm.cont()
  const { pid } = vm
  process.kill(pid, 'SIGKILL')
  t.is((await host.exited()).reason, 'died')
  await nothingLeft(t, host, pid)
  await t.exception(vm.cont(), /ended/)
})

test('a driver that is killed takes its VM, helpers and mounts along', TIMEOUT, async (t) => {
  if (!need(t, ...NEEDS)) return
  const directory = await shortTmp(t)
  const child = startChild(t, 'vmm-child', directory)
  const pid = Number(await child.line())
  t.ok(pid > 1)
  t.is((await mountsBelow({ directory })).length, 3, 'memory, kernel and initrd')
  await child.end('SIGKILL')
  await until(async () => (await processesOf({ directory })).length === 0)
  // FUSE's helpers may miss a mount (1 of 25 times): each reads the table of mounts while others change it.
  const gone = async () => (await mountsBelow({ directory })).length === 0
  await until(gone, 3000).catch(() => t.comment('a helper of FUSE missed its mount'))
  for (const line of await mountsBelow({ directory })) {
    t.ok(await unmount(line.split(' ')[4]), 'the next start takes it away')
  }
  t.ok(await gone())
})

test('a restored guest that reboots starts its kernel again', TIMEOUT, async (t) => {
  if (!need(t, ...NEEDS)) return
  const { vm, host, console } = await resumeCopy(t, driver)
  await vm.cont()
  await console.run('echo kept > /root/kept; sync')
  t.is(host.devices['kernel'].reads, 0, 'its kernel was not read for the resume')
  const { pid } = vm
  await console.run('(sleep 1; reboot) &')
  let stops = 0
  for (const end = Date.now() + 60_000; vm.pid === pid && Date.now() < end; stops++) {
    await vm.stop(10_000)
    await vm.cont()
    await sleep(20)
  }
  t.not(vm.pid, pid, `stopped ${stops} times meanwhile`)
  t.is(
    await console.run('cat /root/kept; ls /run/secret 2>/dev/null; true', { timeoutMs: 60_000 }),
    'kept'
  )
  t.is(host.exits.length, 0)
  await vm.quit()
  await nothingLeft(t, host, pid)
})

test('a guest that is saved before its kernel was loaded boots later', TIMEOUT, async (t) => {
  if (!need(t, ...NEEDS)) return
  const host = await GuestHost.boot(await shortTmp(t), 192 * MIB)
  t.teardown(() => host.close())
  const machine = await host.plan(driver)
  const vm = await driver.launch(host.spec(machine, false))
  t.teardown(() => vm.quit(), { order: 1 })
  await vm.cont()
  await vm.stop(10_000)
  t.ok(await vm.kernelPending(), 'it is in its firmware')
  const state = await suspend(vm)
  await vm.quit()
  const pending = { ...machine, kernel: { ...machine.kernel!, pending: true } }
  const again = await driver.launch(host.spec(pending, true))
  t.teardown(() => again.quit(), { order: 1 })
  await again.restoreState(Readable.from([state]))
  await again.cont()
  const console = consoleOf(t, host)
  t.is(await console.run('echo up', { timeoutMs: 90_000 }), 'up')
  await again.stop(10_000)
  t.absent(await again.kernelPending(), 'it runs its kernel')
})

test('a process starts while the guest dirties its RAM', TIMEOUT, async (t) => {
  if (!need(t, ...NEEDS)) return
  const { vm, host, console } = await resumeCopy(t, driver)
  await vm.cont()
  await console.run('head -c 32m /dev/urandom > /run/big')
  const { memory } = host.devices
  const reads = memory.reads
  await vm.syncMemory()
  await console.run('md5sum /run/big')
  t.ok(
    memory.reads - reads < 1000,
    `a sync keeps pages in the cache: ${memory.reads - reads} reads`
  )
  await console.run('(while :; do head -c 16m /dev/urandom > /run/noise; done) > /dev/null 2>&1 &')
  const { pid } = vm
  for (let i = 0; i < 3; i++) {
    await vm.syncMemory()
    // Serves guest RAM itself: were the kernel to write it back for the fork, it would wait for itself.
    t.is(spawnSync('true').status, 0, 'it was forked')
  }
  await Promise.all([vm.syncMemory(), console.run('(sleep 0; reboot -f) &').catch(() => null)])
  await until(() => vm.pid !== pid, 60_000)
  t.is(await console.run('echo up', { timeoutMs: 60_000 }), 'up', 'and after a reboot')
  await vm.quit()
  await nothingLeft(t, host, pid)
})

test('the clock of a guest is right after a resume', TIMEOUT, async (t) => {
  if (!need(t, ...NEEDS)) return
  const { vm, console } = await resumeCopy(t, driver)
  await vm.cont()
  await until(async () => (await vm.setClock()) === 'guest-agent') // it may have been saved while it started
  const seconds = Number(await console.run('date +%s'))
  t.ok(Math.abs(seconds - Date.now() / 1000) < 3, 'the system clock')
  await console.run('killall qemu-ga; rm -f /dev/vport*')
  await until(async () => (await vm.setClock()) === 'rtc')
  t.pass('without an agent only the hardware clock is right')
})

test('free memory of the guest is given back', TIMEOUT, async (t) => {
  if (!need(t, ...NEEDS)) return
  const { vm, host, console } = await resumeCopy(t, driver)
  await vm.cont()
  await console.run('head -c 64m /dev/zero > /run/zeros; rm /run/zeros')
  const { memory } = host.devices
  await until(() => memory.trimmedBytes > 32 * MIB, 30_000)
  t.pass(`${memory.trimmedBytes} bytes were discarded`)
})

type Console = ReturnType<typeof consoleOf>

async function counters(console: Console): Promise<{ tick: number; uptime: number }> {
  const [tick, uptime] = (await console.run('cat /run/tick; cut -d. -f1 /proc/uptime')).split('\n')
  return { tick: Number(tick), uptime: Number(uptime) }
}

async function nothingLeft(t: Assert, host: GuestHost, pid: number): Promise<void> {
  t.is((await mountsBelow(host)).length, 0, 'no mount')
  t.alike(await readdir(path.join(host.directory, 'vm')), [], 'no file')
  t.absent(await stat(`/proc/${pid}`).catch(() => null), 'no QEMU')
  await until(async () => (await processesOf(host)).length === 0) // FUSE's helper ends by itself, a little later
}

async function mountsBelow(host: { directory: string }): Promise<string[]> {
  const table = await readFile('/proc/self/mountinfo', 'utf8')
  return table.split('\n').filter((line) => line.includes(` ${host.directory}/`))
}

/** Whoever names the run directory in its arguments. */
async function processesOf(host: { directory: string }): Promise<string[]> {
  const found: string[] = []
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue
    const command = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')
    if (command.includes(`${host.directory}/vm`)) found.push(command.replaceAll('\0', ' '))
  }
  return found
}

async function until(
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 20_000
): Promise<void> {
  const end = performance.now() + timeoutMs
  while (!(await condition())) {
    if (performance.now() > end) throw new Error('it did not come about in time')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

function answers(console: Console): Promise<boolean> {
  return console.ready(1500).then(
    () => true,
    () => false
  )
}

function show(read: { bytes: number; reads: number }): string {
  return `${(read.bytes / MIB).toFixed(2)} MiB in ${read.reads} reads`
}
