/**
 * What every `VmmDriver` must do, tried with a real guest. A boot takes seconds, so one is saved and the tests start from
 * copies of it.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import path from 'node:path'
import { Readable } from 'node:stream'
import type { Assert, Test } from 'brittle'
import type { MachineConfig, Vm, VmmDriver } from '../../lib/vmm/driver.ts'
import { GuestHost } from '../helpers/guest.ts'
import { SerialConsole } from '../helpers/serial-console.ts'
import { need, type RequirementName } from '../helpers/requirements.ts'

const MEMORY_BYTES = 256 * 1024 * 1024
const TIMEOUT = { timeout: 180_000 }

/** A VM that was suspended: its volumes and its device state. */
export interface SavedVm {
  host: GuestHost
  machine: MachineConfig
  state: Buffer
}

let saved: Promise<SavedVm> | null = null

export function vmmDriverSuite(
  test: Test,
  name: string,
  driver: VmmDriver,
  requirements: RequirementName[]
): void {
  const start = (t: Assert) => resumeCopy(t, driver)

  test(`${name}: a plan is complete and fits the host that made it`, async (t) => {
    if (!need(t, ...requirements)) return
    const request = {
      cpus: 2,
      memoryBytes: MEMORY_BYTES,
      disks: [{ volume: 'disk0', bytes: 4096 }]
    }
    const machine = await driver.plan(request)
    t.is(machine.vmm, driver.name)
    t.is(machine.cpus, 2)
    t.is(machine.memoryBytes, MEMORY_BYTES)
    t.alike(machine.disks, request.disks)
    t.absent(machine.cpuModel.startsWith('host'), 'never the host CPU')
    t.is(await driver.mismatch(machine), null)
    t.alike(JSON.parse(JSON.stringify(machine)), machine, 'plain JSON')
    const second = await driver.plan(request)
    t.not(second.vmGenId, machine.vmGenId)
    t.not(second.macAddress, machine.macAddress)
  })

  test(`${name}: what this host cannot resume is told`, async (t) => {
    if (!need(t, ...requirements)) return
    const request = { cpus: 1, memoryBytes: MEMORY_BYTES, disks: [] }
    const machine = await driver.plan(request)
    t.ok(await driver.mismatch({ ...machine, vmm: 'other' }))
    t.ok(await driver.mismatch({ ...machine, machineType: 'pc-q35-99.1' }))
  })

  test(`${name}: a volume that nobody serves`, async (t) => {
    if (!need(t, ...requirements)) return
    const host = await GuestHost.boot(await shortTmp(t), MEMORY_BYTES)
    t.teardown(() => host.close())
    const spec = host.spec(await host.plan(driver), false)
    delete spec.nbdSockets['disk0']
    await t.exception(driver.launch(spec), /disk0/)
    t.is(host.exits.length, 0, 'what never ran cannot end')
  })

  test(
    `${name}: a VM starts paused, and runs on in another process after a suspend`,
    TIMEOUT,
    async (t) => {
      if (!need(t, ...requirements)) return
      const { vm, host, console } = await start(t)
      t.absent(await answers(console, 500), 'restored, and still paused')
      await vm.cont()
      t.is(await console.run('cat /run/secret'), 'in RAM only')
      t.ok(Number(await console.run('cut -d. -f1 /proc/uptime')) > 1)
      await vm.quit()
      t.is(host.exits.length, 1)
      t.is(host.exits[0].reason, 'quit')
    }
  )

  test(`${name}: a checkpoint lets the VM run on`, TIMEOUT, async (t) => {
    if (!need(t, ...requirements)) return
    const { vm, host, machine, console } = await start(t)
    await vm.cont()
    await console.run('echo one > /run/step')
    const state = await suspend(vm)
    const other = await host.copy(await shortTmp(t))
    t.teardown(() => other.close())
    await vm.cont()
    await console.run('echo two > /run/step')
    t.is(await console.run('cat /run/step'), 'two')
    await vm.quit()
    const back = await driver.launch(other.spec(machine, true))
    t.teardown(() => back.quit())
    await back.restoreState(Readable.from([state]))
    await back.cont()
    const backConsole = consoleOf(t, other)
    t.is(await backConsole.run('cat /run/step'), 'one')
  })

  test(`${name}: a stopped VM continues`, TIMEOUT, async (t) => {
    if (!need(t, ...requirements)) return
    const { vm, console } = await start(t)
    await vm.cont()
    await console.ready()
    await vm.stop(10_000)
    t.absent(await answers(console, 500))
    await vm.stop(10_000)
    await vm.cont()
    t.is(await console.run('echo back'), 'back')
  })

  for (const [what, spoil] of Object.entries(SPOILED)) {
    test(`${name}: a saved state that is ${what} is refused`, TIMEOUT, async (t) => {
      if (!need(t, ...requirements)) return
      const { machine, state } = await savedVm(driver)
      const host = await (await savedVm(driver)).host.copy(await shortTmp(t))
      t.teardown(() => host.close())
      const vm = await driver.launch(host.spec(machine, true))
      t.teardown(() => vm.quit())
      const err = await rejection(vm.restoreState(Readable.from([spoil(state)])))
      t.is(err?.code, 'VMM_STATE_REJECTED')
      await vm.quit()
      t.is(host.exits.length, 1)
    })
  }

  test(`${name}: a guest that powers off`, TIMEOUT, async (t) => {
    if (!need(t, ...requirements)) return
    const { vm, host } = await start(t)
    await vm.cont()
    await vm.powerButton()
    t.is((await host.exited()).reason, 'guest')
    await vm.quit()
    t.is(host.exits.length, 1, 'told once')
  })

  test(`${name}: quit is idempotent`, TIMEOUT, async (t) => {
    if (!need(t, ...requirements)) return
    const { vm, host } = await start(t)
    await Promise.all([vm.quit(), vm.quit()])
    await vm.quit()
    t.is(host.exits.length, 1)
  })
}

const SPOILED: Record<string, (state: Buffer) => Buffer> = {
  'cut off': (state) => state.subarray(0, state.length >> 1),
  empty: () => Buffer.alloc(0),
  'of another kind': () => Buffer.alloc(64 * 1024, 'no state at all')
}

/** The saved guest, once a process. */
export function savedVm(driver: VmmDriver): Promise<SavedVm> {
  saved ??= save(driver)
  return saved
}

async function save(driver: VmmDriver): Promise<SavedVm> {
  const directory = await mkdtemp('/tmp/hp-')
  const host = await GuestHost.boot(directory, MEMORY_BYTES)
  try {
    const machine = await host.plan(driver)
    const vm = await driver.launch(host.spec(machine, false))
    const console = new SerialConsole(host.serialSocket)
    try {
      await vm.cont()
      await console.run('echo in RAM only > /run/secret; echo on disk > /root/note; sync')
      return { host, machine, state: await suspend(vm) }
    } finally {
      console.close()
      await vm.quit()
      host.exits.length = 0
    }
  } finally {
    await host.close() // its devices keep their content
    await rm(directory, { recursive: true, force: true })
  }
}

/** A restored, still paused VM on a copy of the saved guest. */
export async function resumeCopy(t: Assert, driver: VmmDriver) {
  const { host: original, machine, state } = await savedVm(driver)
  const host = await original.copy(await shortTmp(t))
  t.teardown(() => host.close(), { order: 2 })
  const vm = await driver.launch(host.spec(machine, true))
  t.teardown(() => vm.quit(), { order: 1 })
  await vm.restoreState(Readable.from([state]))
  return { vm, host, machine, console: consoleOf(t, host) }
}

export function consoleOf(t: Assert, host: GuestHost): SerialConsole {
  const console = new SerialConsole(host.serialSocket)
  t.teardown(() => console.close())
  return console
}

/** In the order that a snapshot needs; the VM is paused afterwards. */
export async function suspend(vm: Vm): Promise<Buffer> {
  await vm.syncMemory()
  await vm.stop(10_000)
  const pieces: Buffer[] = []
  for await (const piece of await vm.saveState()) pieces.push(piece as Buffer)
  await vm.syncMemory()
  return Buffer.concat(pieces)
}

/** Sockets need a short path. */
export async function shortTmp(t: Assert): Promise<string> {
  const directory = await mkdtemp(path.join('/tmp', 'hp-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }), { order: 3 })
  return directory
}

async function answers(console: SerialConsole, timeoutMs: number): Promise<boolean> {
  return console.ready(timeoutMs).then(
    () => true,
    () => false
  )
}

export async function rejection(promise: Promise<unknown>): Promise<{ code?: string } | null> {
  return promise.then(
    () => null,
    (err: unknown) => err as { code?: string }
  )
}
