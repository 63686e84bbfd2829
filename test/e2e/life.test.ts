/** The verbs on one running VM: checkpoint, discard, poweroff, and a guest that turns itself off; and where keys are not. */
import { readFile, readdir } from 'node:fs/promises'
import path from 'node:path'
import test, { type Assert } from 'brittle'
import { Fleet, processesBelow, type Device, type Json } from '../helpers/devices.ts'
import { need, type RequirementName } from '../helpers/requirements.ts'
import { until } from '../helpers/until.ts'

const NEEDS: RequirementName[] = ['qemu', 'fuse', 'bubblewrap', 'apt-get', 'e2fsprogs']
const TIMEOUT = { timeout: 240_000 }
const MARKER = 'marker-7d0c1b52e9'

test('checkpoint, discard, poweroff, and a guest that turns itself off', TIMEOUT, async (t) => {
  if (!need(t, ...NEEDS)) return
  const fleet = await Fleet.open(t)
  const home = await fleet.first()
  await home.createGuest('work')
  await home.ok(['resume', 'work'])
  const guest = await home.console('work')
  await guest.run('echo one > /root/state; echo ram > /run/state; sync')
  const unknown = await home.run(['suspend', 'work', '--to', 'nobody'])
  t.alike([unknown.code, unknown.error?.code], [3, 'DEVICE_NOT_FOUND'])
  t.ok(/There are: home/.test(unknown.error?.hint ?? ''))

  const tick = Number(await guest.run('cat /run/tick'))
  const made = await home.ok(['checkpoint', 'work', '-m', 'before the change'])
  t.is(made['version'], 2)
  t.ok(Number(made['pause_ms']) < 5000, `CPUs stood for ${Number(made['pause_ms'])} ms`)
  t.is((await home.parcel('work'))?.['state'], 'running')
  await guest.run('echo two > /root/state; echo changed > /run/state; sync')
  t.is((await home.ok(['discard', 'work', '--yes']))['version'], 2)
  t.is((await home.parcel('work'))?.['state'], 'suspended')
  t.alike(await home.leftovers(), [], 'discarded')

  t.is((await home.ok(['resume', 'work']))['booted'], false)
  t.is(await guest.run('cat /root/state /run/state'), 'one\nram', 'as at the checkpoint')
  t.ok(Number(await guest.run('cat /run/tick')) >= tick)
  await guest.run('echo three > /root/state; sync')
  const off = await home.ok(['poweroff', 'work'])
  t.is(off['version'], 3)
  t.alike(await home.leftovers(), [])

  t.is((await home.ok(['resume', 'work']))['booted'], true, 'a version without memory boots')
  t.is(await guest.run('cat /root/state; ls /run/state 2>/dev/null; true'), 'three')
  await guest.run('echo four > /root/state; sync; (sleep 1; poweroff) &')
  await until(async () => (await home.parcel('work'))?.['state'] === 'suspended')
  const { versions } = (await home.ok(['log', 'work'])) as { versions: Json[] }
  t.alike(
    versions.map((v) => [v['version'], v['parent'], v['memory'], v['message']]),
    [
      [1, null, false, ''],
      [2, 1, true, 'before the change'],
      [3, 2, false, ''],
      [4, 3, false, '']
    ]
  )
  t.alike(await home.leftovers(), [])

  // The daemon is not there when the guest turns itself off.
  await home.ok(['resume', 'work'])
  await guest.run('echo five > /root/state; sync')
  await home.kill('daemon')
  await guest.run('(sleep 1; poweroff) &')
  await until(() => home.processes('qemu').length === 0)
  await until(async () => (await home.parcel('work'))?.['version'] === 5)
  await until(async () => (await home.parcel('work'))?.['state'] === 'suspended')

  const old = await home.ok(['resume', 'work', '--version', '2'])
  t.is(old['booted'], false)
  t.is(await guest.run('cat /root/state /run/state'), 'one\nram', 'an older version')
  await home.ok(['discard', 'work', '--yes'])
  await home.ok(['resume', 'work'])
  t.is(await guest.run('cat /root/state'), 'five')
  await home.ok(['discard', 'work', '--yes'])
})

test('no key, phrase or plaintext where others can read it', TIMEOUT, async (t) => {
  if (!need(t, ...NEEDS)) return
  const fleet = await Fleet.open(t)
  const home = fleet.device('home')
  const { recovery_phrase: phrase } = await home.ok(['init', '--bootstrap', fleet.bootstrap])
  await home.createGuest('work')
  await home.ok(['resume', 'work'])
  const guest = await home.console('work')
  // Made in the guest, so that no command line of ours has it either.
  const [head, tail] = [MARKER.slice(0, 9), MARKER.slice(9)]
  await guest.run(`a=${head}; b=${tail}; echo $a$b > /run/marker; echo $a$b > /root/marker; sync`)

  const { invite } = await home.ok(['invite', '--no-wait'])
  const secrets = new Map<string, Buffer[]>()
  const add = (name: string, ...forms: Buffer[]) => secrets.set(name, forms)
  add(
    'phrase',
    Buffer.from(String(phrase)),
    Buffer.from(String(phrase).split(' ').slice(0, 4).join(' '))
  )
  add('marker', Buffer.from(MARKER))
  add('invite', Buffer.from(String(invite)))
  const keys = path.join(home.home, 'keys')
  for (const name of await readdir(keys)) {
    const key = (await readFile(path.join(keys, name))).subarray(-24)
    add(name, key, Buffer.from(key.toString('hex')), Buffer.from(key.toString('base64')))
  }

  const readable: [string, Buffer][] = []
  let sawQemu = false
  for (const { pid, command } of processesBelow(home.home)) {
    sawQemu ||= command.startsWith('qemu-system')
    readable.push([`arguments of ${command.slice(0, 60)}`, Buffer.from(command, 'latin1')])
    const environment = await readFile(`/proc/${pid}/environ`).catch(() => Buffer.alloc(0))
    readable.push([`environment of ${command.slice(0, 60)}`, environment])
  }
  t.ok(sawQemu && readable.length >= 8, 'daemon, runner, bridge and VMM were looked at')
  search(t, readable, secrets)
  search(t, await filesOf(home), secrets)
  await home.ok(['suspend', 'work'])
  const files = await filesOf(home)
  t.ok(
    files.some(([name]) => name.endsWith('.log')),
    'logs too'
  )
  search(t, files, secrets)
  await home.ok(['daemon', 'stop'])
})

function search(t: Assert, places: [string, Buffer][], secrets: Map<string, Buffer[]>): void {
  const found: string[] = []
  for (const [place, content] of places) {
    for (const [name, forms] of secrets) {
      if (forms.some((form) => content.includes(form))) found.push(`${name} in ${place}`)
    }
  }
  t.alike(found, [])
}

/** Every file of a home but those in `keys`. */
async function filesOf(home: Device): Promise<[string, Buffer][]> {
  const files: [string, Buffer][] = []
  const entries = await readdir(home.home, { recursive: true, withFileTypes: true })
  for (const entry of entries) {
    const file = path.join(entry.parentPath, entry.name)
    if (!entry.isFile() || file.startsWith(path.join(home.home, 'keys'))) continue
    if (file.startsWith(path.join(home.home, 'run'))) continue // guest RAM itself, as a file
    const content = await readFile(file).catch(() => null) // gone meanwhile
    if (content !== null) files.push([path.relative(home.home, file), content])
  }
  return files
}
