/**
 * A machine configuration as QEMU's command line. The guest's hardware is exactly what is here: no default devices, each
 * with its PCI address. Whatever changes a device or its address here makes saved states unloadable: see
 * `test/unit/vmm/arguments.test.ts`, which pins them.
 *
 * Screen: VGA with 8 MiB (1920x1080). Input: USB tablet, PS/2 keyboard. Channel of the guest agent. Balloon with free page
 * reporting: the guest's free memory is discarded in the memory volume.
 */
import type { MachineConfig } from '../driver.ts'

export const AGENT_PORT = 'org.qemu.guest_agent.0'

/** Descriptors that the process inherits. */
export const DESCRIPTOR = { QMP: 3, AGENT: 4, SECCOMP: 5, INFO: 6 } as const

const ADDRESS = { VGA: 1, NET: 2, SERIAL: 3, BALLOON: 4, RNG: 5, USB: 6, DISKS: 8 } as const

export interface MachineFiles {
  /** Guest RAM. */
  memory: string
  kernel?: string
  initrd?: string
  serialSocket: string
  vncSocket: string
  /** Unix sockets of NBD servers by volume name. */
  nbdSockets: Record<string, string>
}

/**
 * `incoming`: wait for a saved state. The CPUs do not run before `cont`. `isolated`: nothing that the guest sends leaves
 * QEMU; its network card looks as ever.
 */
export function qemuArguments(
  machine: MachineConfig,
  files: MachineFiles,
  incoming: boolean,
  isolated = false
): string[] {
  return [
    ...base(machine, files),
    ...channels(files),
    ...devices(machine, isolated),
    ...disks(machine, files),
    ...(machine.isoVolume === undefined ? [] : cdrom(machine.isoVolume, files)),
    ...directKernel(machine, files),
    ...(incoming ? ['-incoming', 'defer'] : [])
  ]
}

function base(machine: MachineConfig, files: MachineFiles): string[] {
  const type = [
    machine.machineType,
    'memory-backend=pc.ram',
    'dump-guest-core=off',
    'suppress-vmdesc=on',
    'vmport=off',
    'hpet=off',
    'smm=off',
    'usb=off',
    `sata=${machine.isoVolume === undefined ? 'off' : 'on'}`
  ]
  const memory = {
    'qom-type': 'memory-backend-file',
    id: 'pc.ram',
    'mem-path': files.memory,
    size: machine.memoryBytes,
    share: true,
    dump: false
  }
  const accelerator = machine.accelerator === 'kvm' ? 'kvm' : 'tcg,thread=multi,tb-size=256'
  return [
    ...['-S', '-nodefaults', '-no-user-config', '-name', 'parcel', '-display', 'none'],
    ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ...['-machine', type.join(','), '-accel', accelerator, '-cpu', machine.cpuModel],
    ...['-smp', `cpus=${machine.cpus},sockets=1,cores=${machine.cpus},threads=1`],
    ...['-m', `size=${machine.memoryBytes / 1024 ** 2}M`, '-object', JSON.stringify(memory)],
    ...['-rtc', 'base=utc,clock=host,driftfix=slew', '-boot', 'menu=off,strict=on'],
    ...['-global', 'ICH9-LPC.disable_s3=1', '-global', 'ICH9-LPC.disable_s4=1']
  ]
}

function channels(files: MachineFiles): string[] {
  const serial = `socket,id=serial,path=${escape(files.serialSocket)},server=on,wait=off`
  return [
    ...['-chardev', `socket,id=qmp,fd=${DESCRIPTOR.QMP}`, '-mon', 'chardev=qmp,mode=control'],
    ...['-chardev', serial, '-serial', 'chardev:serial'],
    ...['-chardev', `socket,id=agent,fd=${DESCRIPTOR.AGENT}`],
    ...['-vnc', `unix:${escape(files.vncSocket)}`]
  ]
}

function devices(machine: MachineConfig, isolated: boolean): string[] {
  const at = (addr: number) => ({ bus: 'pcie.0', addr: hex(addr) })
  return [
    ...['-netdev', isolated ? 'user,id=net0,restrict=on' : 'user,id=net0'],
    ...device({ driver: 'VGA', id: 'vga', vgamem_mb: 8, ...at(ADDRESS.VGA) }),
    ...device({
      driver: 'virtio-net-pci',
      id: 'nic',
      netdev: 'net0',
      mac: machine.macAddress,
      romfile: '',
      ...at(ADDRESS.NET)
    }),
    ...device({ driver: 'virtio-serial-pci', id: 'serial0', max_ports: 4, ...at(ADDRESS.SERIAL) }),
    ...device({
      driver: 'virtserialport',
      bus: 'serial0.0',
      nr: 1,
      chardev: 'agent',
      name: AGENT_PORT
    }),
    ...device({
      driver: 'virtio-balloon-pci',
      id: 'balloon',
      'free-page-reporting': true,
      ...at(ADDRESS.BALLOON)
    }),
    ...['-object', JSON.stringify({ 'qom-type': 'rng-builtin', id: 'rng0' })],
    ...device({ driver: 'virtio-rng-pci', id: 'rng', rng: 'rng0', ...at(ADDRESS.RNG) }),
    ...device({ driver: 'qemu-xhci', id: 'usb', p2: 4, p3: 4, ...at(ADDRESS.USB) }),
    ...device({ driver: 'usb-tablet', id: 'tablet', bus: 'usb.0', port: '1' }),
    ...device({ driver: 'vmgenid', id: 'vmgenid', guid: machine.vmGenId })
  ]
}

/** A read or write that fails stops the VM, and `cont` repeats it: the guest never sees an I/O error. */
function disks(machine: MachineConfig, files: MachineFiles): string[] {
  if (machine.disks.length === 0) return []
  const args = ['-object', JSON.stringify({ 'qom-type': 'iothread', id: 'io0' })]
  for (const [i, disk] of machine.disks.entries()) {
    const node = `node-${disk.volume}`
    args.push(...nbd(node, files.nbdSockets[disk.volume], false))
    args.push(
      ...device({
        driver: 'virtio-blk-pci',
        id: `disk-${i}`,
        drive: node,
        iothread: 'io0',
        bus: 'pcie.0',
        addr: hex(ADDRESS.DISKS + i),
        bootindex: i + 1,
        physical_block_size: 4096,
        logical_block_size: 512,
        rerror: 'stop',
        werror: 'stop'
      })
    )
  }
  return args
}

function cdrom(volume: string, files: MachineFiles): string[] {
  return [
    ...nbd(`node-${volume}`, files.nbdSockets[volume], true),
    ...device({
      driver: 'ide-cd',
      id: 'cdrom',
      bus: 'ide.0',
      drive: `node-${volume}`,
      bootindex: DISKS_BOOTINDEX_END
    })
  ]
}

/** After all disks: an installer starts only while they cannot boot. */
const DISKS_BOOTINDEX_END = 100

function nbd(node: string, socket: string, readOnly: boolean): string[] {
  const blockdev = {
    driver: 'nbd',
    'node-name': node,
    server: { type: 'unix', path: socket },
    'read-only': readOnly,
    ...(readOnly ? {} : { discard: 'unmap', 'detect-zeroes': 'unmap' })
  }
  return ['-blockdev', JSON.stringify(blockdev)]
}

function directKernel(machine: MachineConfig, files: MachineFiles): string[] {
  if (machine.kernel === undefined || files.kernel === undefined) return []
  const args = ['-kernel', files.kernel, '-append', machine.kernel.append]
  if (files.initrd !== undefined) args.push('-initrd', files.initrd)
  return args
}

function device(properties: Record<string, unknown>): string[] {
  return ['-device', JSON.stringify(properties)]
}

function hex(address: number): string {
  return `0x${address.toString(16)}`
}

/** QEMU's option lists write a comma as two. */
function escape(value: string): string {
  return value.replaceAll(',', ',,')
}
