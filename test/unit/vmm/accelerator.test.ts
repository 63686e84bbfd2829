import { chmod, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import test, { type Assert } from 'brittle'
import { askKvm, probe } from '../../../lib/vmm/qemu/accelerator.ts'
import { cpuMismatch, cpuModel, hostCpu } from '../../../lib/vmm/qemu/cpu.ts'
import { parseMachineTypes } from '../../../lib/vmm/qemu/host.ts'
import { need } from '../../helpers/requirements.ts'

test('the probe starts a real CPU, with the model that guests get', async (t) => {
  if (!need(t, 'qemu')) return
  const answer = await probe('tcg', cpuModel('tcg', await hostCpu()), 20_000)
  t.alike(answer, { works: true, reason: '' })
  const bad = await probe('tcg', 'no-such-cpu', 20_000)
  t.is(bad.works, false)
  t.ok(bad.reason.includes('no-such-cpu'), bad.reason)
})

test('a QEMU that hangs is not waited for', async (t) => {
  await withQemu(t, 'trap "" TERM; exec sleep 60')
  const began = performance.now()
  const answer = await probe('kvm', 'any', 300)
  t.is(answer.works, false)
  t.ok(performance.now() - began < 2000)
})

test('the answer is kept for this boot, QEMU and CPU', async (t) => {
  const directory = await withQemu(t, 'echo x >> "$0.calls"; echo no such luck >&2; exit 1')
  const calls = async () =>
    (await readFile(path.join(directory, 'qemu-system-x86_64.calls'))).length / 2
  const cache = await t.tmp()
  const kvm = path.join(cache, 'kvm')
  t.alike(await askKvm('7.2.22', 'model', cache, kvm), {
    works: false,
    reason: `there is no ${kvm}`
  })
  await writeFile(kvm, '')
  const first = await askKvm('7.2.22', 'model', cache, kvm)
  t.alike(first, { works: false, reason: 'no such luck' })
  t.alike(await askKvm('7.2.22', 'model', cache, kvm), first)
  t.is(await calls(), 1)
  await askKvm('7.2.23', 'model', cache, kvm)
  t.is(await calls(), 2, 'another QEMU is asked again')
  await writeFile(path.join(cache, 'kvm.json'), '{"key": 7')
  await askKvm('7.2.23', 'model', cache, kvm)
  t.is(await calls(), 3, 'a broken answer is none')
})

test('CPU models name what the host must have', (t) => {
  const amd = { vendor: 'AuthenticAMD', flags: new Set<string>() }
  const flags = new Set('cx16 lahf_lm ssse3 sse4_1 sse4_2 popcnt aes pclmulqdq'.split(' '))
  const intel = { vendor: 'GenuineIntel', flags }
  t.ok(cpuModel('kvm', intel).endsWith('vendor=GenuineIntel,enforce'))
  t.is(cpuMismatch(cpuModel('kvm', intel), intel), null)
  t.ok(cpuMismatch(cpuModel('kvm', amd), intel)?.includes('AuthenticAMD'))
  t.ok(cpuMismatch(cpuModel('kvm', amd), amd)?.includes('lacks cx16'))
})

test('machine types are sorted by version, not by text', (t) => {
  const help =
    'pc-q35-9.1   x\nq35   x (alias of pc-q35-10.0)\npc-q35-10.0  x\npc-q35-7.2   x\npc-i440fx-10.0 x\n'
  t.alike(parseMachineTypes(help), ['pc-q35-10.0', 'pc-q35-9.1', 'pc-q35-7.2'])
})

/** Puts a script in QEMU's place. */
async function withQemu(t: Assert, script: string): Promise<string> {
  const directory = await t.tmp()
  const file = path.join(directory, 'qemu-system-x86_64')
  await writeFile(file, `#!/bin/sh\n${script}\n`)
  await chmod(file, 0o755)
  const before = process.env['PATH']
  process.env['PATH'] = `${directory}:${before}`
  t.teardown(() => {
    process.env['PATH'] = before
  })
  return directory
}
