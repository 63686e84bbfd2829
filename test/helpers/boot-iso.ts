/**
 * A bootable ISO image of the least size: El Torito, no emulation, a boot sector that says a line on the serial port
 * and halts. Layout by ECMA-119 and the El Torito specification 1.0; only what a BIOS reads is filled in.
 */
const SECTOR_BYTES = 2048
/** Where a BIOS puts the boot image. */
const LOAD_ADDRESS = 0x7c00
const TEXT_AT = 0x20

export function bootIso(line: string): Buffer {
  const iso = Buffer.alloc(21 * SECTOR_BYTES)
  const sector = (n: number) => iso.subarray(n * SECTOR_BYTES, (n + 1) * SECTOR_BYTES)
  descriptor(sector(16), 1) // primary
  const boot = descriptor(sector(17), 0)
  boot.write('EL TORITO SPECIFICATION', 7, 'latin1')
  boot.writeUInt32LE(19, 0x47)
  descriptor(sector(18), 255) // terminator
  catalog(sector(19))
  bootSector(line).copy(sector(20))
  return iso
}

function descriptor(target: Buffer, type: number): Buffer {
  target.writeUInt8(type, 0)
  target.write('CD001', 1, 'latin1')
  target.writeUInt8(1, 6)
  return target
}

function catalog(target: Buffer): void {
  target.writeUInt8(1, 0) // validation entry, 80x86
  target.writeUInt16LE(0xaa55, 0x1e)
  let sum = 0
  for (let at = 0; at < 0x20; at += 2) sum += target.readUInt16LE(at)
  target.writeUInt16LE((0x1_0000 - (sum & 0xffff)) & 0xffff, 0x1c)
  target.writeUInt8(0x88, 0x20) // bootable, no emulation
  target.writeUInt16LE(4, 0x26) // 512-byte sectors to load
  target.writeUInt32LE(20, 0x28)
}

function bootSector(line: string): Buffer {
  const code = Buffer.alloc(SECTOR_BYTES)
  Buffer.from([
    ...[0xfa, 0x31, 0xc0, 0x8e, 0xd8], // cli; ds = 0
    ...[0xba, 0xf8, 0x03], // dx = the first serial port
    ...[0xbe, (LOAD_ADDRESS + TEXT_AT) & 0xff, (LOAD_ADDRESS + TEXT_AT) >> 8], // si = text
    ...[0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8], // send bytes until a zero
    ...[0xf4, 0xeb, 0xfd] // halt
  ]).copy(code)
  code.write(`${line}\r\n`, TEXT_AT, 'latin1')
  return code
}
