/**
 * What QEMU gets as `-kernel` when a machine that booted a kernel directly is restored. The devices must be the very
 * same, but the kernel is in guest RAM already: reading 10 MB of it again would delay the resume for nothing.
 * QEMU looks at the setup header only (boot protocol, Documentation/arch/x86/boot.rst); were it ever booted, it is all
 * zeros, so a reset of such a VM must start a fresh QEMU with the real kernel.
 */
const SETUP_SECTORS = 1
const BOOT_PROTOCOL = 0x020f
const LOADED_HIGH = 0x01

export function kernelStub(): Buffer {
  const stub = Buffer.alloc(8192)
  stub.writeUInt8(SETUP_SECTORS, 0x1f1)
  stub.writeUInt16LE(0xaa55, 0x1fe)
  stub.write('HdrS', 0x202, 'latin1')
  stub.writeUInt16LE(BOOT_PROTOCOL, 0x206)
  stub.writeUInt8(LOADED_HIGH, 0x211)
  stub.writeUInt32LE(0x7fffffff, 0x22c) // highest address of an initrd
  return stub
}
