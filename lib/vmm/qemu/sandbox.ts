/**
 * The sandbox of a VMM, made by bubblewrap: it sees libraries and firmware, its run directory, the NBD sockets that it was
 * given and, under KVM, `/dev/kvm`; it has no capability and sees no other process. The network stays, for the guest's.
 */
import { existsSync, realpathSync } from 'node:fs'
import { DESCRIPTOR } from './arguments.ts'

export const BWRAP = 'bwrap'

/** Libraries, QEMU's own files, and the configuration that a dynamic linker or a resolver reads. */
const READ_ONLY = ['/usr', '/lib', '/lib32', '/lib64', '/bin', '/sbin']
const READ_ONLY_ETC = [
  '/etc/alternatives',
  '/etc/host.conf',
  '/etc/hosts',
  '/etc/ld.so.cache',
  '/etc/ld.so.conf',
  '/etc/ld.so.conf.d',
  '/etc/nsswitch.conf',
  '/etc/qemu',
  '/etc/resolv.conf'
]

export interface SandboxOptions {
  /** Written to, with its mounts. */
  runDirectory: string
  /** Unix sockets elsewhere. */
  sockets: string[]
  kvm: boolean
}

/** Arguments of `bwrap` before the command. The filter comes by `DESCRIPTOR.SECCOMP`, the pid goes to `DESCRIPTOR.INFO`. */
export function sandboxArguments(options: SandboxOptions): string[] {
  const args = ['--unshare-pid', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try']
  args.push('--as-pid-1', '--die-with-parent', '--new-session', '--cap-drop', 'ALL')
  args.push('--hostname', 'parcel', '--dev', '/dev', '--tmpfs', '/tmp')
  for (const directory of READ_ONLY) args.push('--ro-bind-try', directory, directory)
  // a link (to what systemd-resolved keeps, for instance) leads out of the sandbox: bind what is behind it
  for (const file of READ_ONLY_ETC) {
    if (existsSync(file)) args.push('--ro-bind', realpathSync(file), file)
  }
  args.push('--bind', options.runDirectory, options.runDirectory)
  const inside = `${options.runDirectory}/`
  for (const socket of new Set(options.sockets)) {
    if (!socket.startsWith(inside)) args.push('--bind', socket, socket)
  }
  if (options.kvm) args.push('--dev-bind', '/dev/kvm', '/dev/kvm')
  args.push('--chdir', '/', '--seccomp', String(DESCRIPTOR.SECCOMP))
  args.push('--info-fd', String(DESCRIPTOR.INFO), '--')
  return args
}
