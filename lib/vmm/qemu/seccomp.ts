/**
 * The filter that keeps a page fault small: QEMU asks for huge pages on guest RAM, and the kernel then reads
 * 2 to 4 MB around every fault. `madvise(…, MADV_HUGEPAGE)` answers EINVAL, which QEMU ignores; nothing else changes.
 * Classic BPF over `struct seccomp_data` (nr at 0, arch at 4, args from 16 on), see seccomp(2).
 */
const LD_WORD_ABS = 0x20
const JEQ = 0x15
const RET = 0x06

const AUDIT_ARCH_X86_64 = 0xc000003e
const SYS_MADVISE = 28
const MADV_HUGEPAGE = 14
const SECCOMP_RET_ALLOW = 0x7fff0000
const SECCOMP_RET_ERRNO_EINVAL = 0x00050000 | 22

/** An array of `struct sock_filter`, as `bwrap --seccomp` reads it. */
export function noHugePagesFilter(): Buffer {
  const program: [code: number, jumpTrue: number, jumpFalse: number, k: number][] = [
    [LD_WORD_ABS, 0, 0, 4],
    [JEQ, 0, 5, AUDIT_ARCH_X86_64],
    [LD_WORD_ABS, 0, 0, 0],
    [JEQ, 0, 3, SYS_MADVISE],
    [LD_WORD_ABS, 0, 0, 16 + 2 * 8], // third argument, low half
    [JEQ, 0, 1, MADV_HUGEPAGE],
    [RET, 0, 0, SECCOMP_RET_ERRNO_EINVAL],
    [RET, 0, 0, SECCOMP_RET_ALLOW]
  ]
  const filter = Buffer.alloc(program.length * 8)
  for (const [i, [code, jumpTrue, jumpFalse, k]] of program.entries()) {
    filter.writeUInt16LE(code, i * 8)
    filter.writeUInt8(jumpTrue, i * 8 + 2)
    filter.writeUInt8(jumpFalse, i * 8 + 3)
    filter.writeUInt32LE(k, i * 8 + 4)
  }
  return filter
}
