/**
 * A firmware that switches a CPU through all modes that a guest needs (real, protected, 64 bits with paging) and then makes
 * QEMU exit through `isa-debug-exit`. Some hosts' KVM starts in real mode and hangs later, so this is the least that a
 * probe has to try.
 *
 * 64 KiB, mapped so that its end is at 4 GiB, where an x86 CPU starts.
 */
const FIRMWARE_BYTES = 64 * 1024
const ROM_BASE = 0xffff0000
const CODE = 0xfe00
const GDT = 0xff80
const GDT_POINTER = 0xffa0

const EXIT_PORT = 0xf4
const EXIT_VALUE = 0x10
export const EXIT_DEVICE = `isa-debug-exit,iobase=0x${EXIT_PORT.toString(16)},iosize=4`
/** QEMU's exit code when the firmware came to its end. */
export const EXIT_CODE = (EXIT_VALUE << 1) | 1

// prettier-ignore
const REAL_MODE = [
  0xfa,                                             // cli
  0x2e, 0x66, 0x0f, 0x01, 0x16, ...word(GDT_POINTER), // lgdt cs:[GDT_POINTER]
  0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0,   // cr0 |= protected mode
  0x66, 0xea                                        // jmp 0x08:PROTECTED_MODE
]
const PROTECTED_MODE_AT = CODE + REAL_MODE.length + 6

// Page tables in RAM map the 2 MiB that hold this ROM.
// prettier-ignore
const PROTECTED_MODE = [
  0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8, 0x8e, 0xd0,   // ds = ss = 0x10
  0xc7, 0x05, ...long(0x1000), ...long(0x2003),     // PML4[0]
  0xc7, 0x05, ...long(0x2018), ...long(0x3003),     // page directory pointer [3]
  0xc7, 0x05, ...long(0x3ff8), ...long(0xffe00083), // page directory [511], 2 MiB
  0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0, // cr4 |= physical address extension
  0xb8, ...long(0x1000), 0x0f, 0x22, 0xd8,          // cr3 = PML4
  0xb9, ...long(0xc0000080), 0x0f, 0x32,            // rdmsr EFER
  0x0d, ...long(0x100), 0x0f, 0x30,                 // EFER |= long mode
  0x0f, 0x20, 0xc0, 0x0d, ...long(0x80000000), 0x0f, 0x22, 0xc0, // cr0 |= paging
  0xea                                              // jmp 0x18:LONG_MODE
]
const LONG_MODE_AT = PROTECTED_MODE_AT + PROTECTED_MODE.length + 6

// prettier-ignore
const LONG_MODE = [
  0xba, ...long(EXIT_PORT), 0xb0, EXIT_VALUE, 0xee, // out EXIT_PORT, EXIT_VALUE
  0xf4, 0xeb, 0xfd                                  // hlt
]

// null, code and data with 32 bits, code with 64 bits; all marked accessed, because a ROM cannot be written
const DESCRIPTORS = [0n, 0x00cf9b000000ffffn, 0x00cf93000000ffffn, 0x00af9b000000ffffn]

export function probeFirmware(): Buffer {
  const firmware = Buffer.alloc(FIRMWARE_BYTES, 0xf4)
  const toProtected = [...long(ROM_BASE + PROTECTED_MODE_AT), 0x08, 0x00]
  const toLong = [...long(ROM_BASE + LONG_MODE_AT), 0x18, 0x00]
  firmware.set([...REAL_MODE, ...toProtected, ...PROTECTED_MODE, ...toLong, ...LONG_MODE], CODE)
  for (const [i, descriptor] of DESCRIPTORS.entries()) {
    firmware.writeBigUInt64LE(descriptor, GDT + i * 8)
  }
  firmware.set([...word(DESCRIPTORS.length * 8 - 1), ...long(ROM_BASE + GDT)], GDT_POINTER)
  const reset = FIRMWARE_BYTES - 16
  firmware.set([0xe9, ...word((CODE - reset - 3) & 0xffff)], reset) // jmp CODE
  return firmware
}

function word(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff]
}

function long(value: number): number[] {
  return [...word(value & 0xffff), ...word(value >>> 16)]
}
