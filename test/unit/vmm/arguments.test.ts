import test from 'brittle'
import { qemuArguments, type MachineFiles } from '../../../lib/vmm/qemu/arguments.ts'
import { machine } from './machine.ts'

const FILES: MachineFiles = {
  memory: '/run/a,b/memory',
  kernel: '/run/kernel',
  initrd: '/run/initrd',
  serialSocket: '/run/a,b/serial.sock',
  vncSocket: '/run/a,b/vnc.sock',
  nbdSockets: { disk0: '/n/0', disk1: '/n/1', iso: '/n/iso' }
}

// A saved state fits these devices at these addresses only: a change here needs a change of the machine configuration.
const DEVICES = [
  'VGA vga pcie.0 0x1',
  'virtio-net-pci nic pcie.0 0x2',
  'virtio-serial-pci serial0 pcie.0 0x3',
  'virtserialport  serial0.0 1',
  'virtio-balloon-pci balloon pcie.0 0x4',
  'virtio-rng-pci rng pcie.0 0x5',
  'qemu-xhci usb pcie.0 0x6',
  'usb-tablet tablet usb.0 1',
  'vmgenid vmgenid  ',
  'virtio-blk-pci disk-0 pcie.0 0x8',
  'virtio-blk-pci disk-1 pcie.0 0x9',
  'ide-cd cdrom ide.0 '
]

test('devices and their addresses are pinned', (t) => {
  const args = qemuArguments(machine(), FILES, false)
  const found = valuesOf(args, '-device').map((value) => {
    const {
      driver,
      id = '',
      bus = '',
      addr,
      nr,
      port
    } = JSON.parse(value) as Record<string, string>
    return `${driver} ${id} ${bus} ${addr ?? nr ?? port ?? ''}`
  })
  t.alike(found, DEVICES)
  t.is(
    valuesOf(args, '-machine')[0],
    'pc-q35-7.2,memory-backend=pc.ram,dump-guest-core=off,suppress-vmdesc=on,vmport=off,hpet=off,smm=off,usb=off,sata=on'
  )
  for (const none of ['-nodefaults', '-no-user-config', '-S']) t.ok(args.includes(none), none)
})

test('guest RAM is shared, so that it is not in the device state', (t) => {
  const objects = valuesOf(qemuArguments(machine(), FILES, false), '-object')
  const memory = objects.map((o) => JSON.parse(o) as Record<string, unknown>)[0]
  t.is(memory['mem-path'], '/run/a,b/memory')
  t.is(memory['share'], true)
  t.is(memory['size'], 512 * 1024 * 1024)
})

test('a failed disk request stops the VM', (t) => {
  const devices = valuesOf(qemuArguments(machine(), FILES, false), '-device')
  const disks = devices
    .map((value) => JSON.parse(value) as Record<string, string>)
    .filter((device) => device['driver'] === 'virtio-blk-pci')
  t.is(disks.length, 2)
  t.ok(disks.every((disk) => disk['werror'] === 'stop' && disk['rerror'] === 'stop'))
})

test('paths with commas stay paths', (t) => {
  const args = qemuArguments(machine(), FILES, false)
  t.ok(args.includes('unix:/run/a,,b/vnc.sock'))
  t.ok(args.some((arg) => arg.includes('path=/run/a,,b/serial.sock,')))
})

test('a restored machine has the same hardware', (t) => {
  const cold = qemuArguments(machine(), FILES, false)
  const warm = qemuArguments(machine(), FILES, true)
  t.alike(warm, [...cold, '-incoming', 'defer'])
})

function valuesOf(args: string[], option: string): string[] {
  return args.flatMap((arg, i) => (arg === option ? [args[i + 1]] : []))
}
