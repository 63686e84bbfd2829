/** What `doctor` asks about QEMU and its helpers. Starts a first guest where KVM was not tried yet; changes nothing. */
import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { promisify } from 'node:util'
import type { Check } from '../../base/check.ts'
import { HyperparcelError } from '../../base/errors.ts'
import type { QemuDriver } from './driver.ts'
import { checkFuse } from './fuse-file.ts'
import { BWRAP } from './sandbox.ts'

const run = promisify(execFile)
const ASK_TIMEOUT_MS = 5000

/** Checks named `qemu`, `kvm`, `fuse`, `nbdfuse`, `memory`, `sandbox`. */
export async function examineQemu(driver: QemuDriver): Promise<Check[]> {
  const checks = [qemu(driver), kvm(driver), fuse(), nbdfuse(), memory(), sandbox()]
  return Promise.all(checks)
}

async function qemu(driver: QemuDriver): Promise<Check> {
  try {
    const { version, machineTypes } = await driver.host()
    const found = `QEMU ${version}, machine type ${machineTypes[0] ?? 'none'}`
    return { name: 'qemu', state: 'ok', found }
  } catch (err) {
    return problem('qemu', err)
  }
}

async function kvm(driver: QemuDriver): Promise<Check> {
  const answer = await driver.kvm().catch((err: unknown) => ({
    works: false,
    reason: err instanceof Error ? err.message : String(err)
  }))
  if (answer.works) return { name: 'kvm', state: 'ok', found: 'KVM runs a first guest' }
  return {
    name: 'kvm',
    state: 'slow',
    found: `KVM is not used, because ${answer.reason}: guests run ten times slower, emulated`,
    hint: await kvmHint()
  }
}

/** By what is wrong: the device is missing, closed to this user, or there and does not work. */
async function kvmHint(): Promise<string> {
  const found = await stat('/dev/kvm').catch(() => null)
  if (found === null) {
    return 'Turn virtualization on in the firmware (in a virtual machine: nested virtualization), and load the module kvm_intel or kvm_amd.'
  }
  const usable = await access('/dev/kvm', constants.R_OK | constants.W_OK).then(
    () => true,
    () => false
  )
  if (usable) {
    return 'The device is there and may be used, but no guest starts: in a virtual machine this needs nested virtualization, else look at the kernel log.'
  }
  if ((found.mode & 0o060) === 0o060 && found.gid !== 0) {
    return 'Add this user to the group of /dev/kvm (usermod -aG kvm USER), and log in again.'
  }
  return 'Give /dev/kvm to a group, as root (chgrp kvm /dev/kvm; chmod 660 /dev/kvm), add this user to it (usermod -aG kvm USER), and log in again.'
}

async function fuse(): Promise<Check> {
  try {
    await checkFuse()
    return { name: 'fuse', state: 'ok', found: '/dev/fuse can be used' }
  } catch (err) {
    return problem('fuse', err)
  }
}

async function nbdfuse(): Promise<Check> {
  const missing: string[] = []
  for (const name of ['nbdfuse', 'fusermount3']) {
    if (!(await starts(name, ['--version']))) missing.push(name)
  }
  if (missing.length === 0) {
    return { name: 'nbdfuse', state: 'ok', found: 'nbdfuse and fusermount3 are installed' }
  }
  return {
    name: 'nbdfuse',
    state: 'missing',
    found: `${missing.join(' and ')} cannot be started: guest memory cannot be mapped`,
    hint: 'Install them: apt-get install libnbd-bin fuse3'
  }
}

/** The knobs of a FUSE mount belong to root. */
async function memory(): Promise<Check> {
  if (process.getuid?.() === 0) {
    return { name: 'memory', state: 'ok', found: 'Page faults of guests read 16 KiB' }
  }
  return {
    name: 'memory',
    state: 'slow',
    found:
      'Only root can set the limits of FUSE: page faults of guests read 128 KiB, and guests that write much memory are slowed down'
  }
}

async function sandbox(): Promise<Check> {
  try {
    const args = ['--unshare-pid', '--ro-bind', '/', '/', '--dev', '/dev', '--', 'true']
    await run(BWRAP, args, { timeout: ASK_TIMEOUT_MS })
    return { name: 'sandbox', state: 'ok', found: 'bubblewrap makes sandboxes' }
  } catch (err) {
    const absent = (err as NodeJS.ErrnoException).code === 'ENOENT'
    return {
      name: 'sandbox',
      state: 'missing',
      found: absent ? 'bubblewrap is not installed' : 'bubblewrap may not make sandboxes here',
      hint: absent
        ? 'Install it: apt-get install bubblewrap'
        : 'Allow unprivileged user namespaces: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns.'
    }
  }
}

async function starts(command: string, args: string[]): Promise<boolean> {
  return run(command, args, { timeout: ASK_TIMEOUT_MS }).then(
    () => true,
    () => false
  )
}

function problem(name: string, err: unknown): Check {
  const { message, hint } = HyperparcelError.from(err)
  return { name, state: 'missing', found: message, hint }
}
