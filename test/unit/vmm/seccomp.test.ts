import test from 'brittle'
import { noHugePagesFilter } from '../../../lib/vmm/qemu/seccomp.ts'

const X86_64 = 0xc000003e
const MADVISE = 28
const ALLOW = 0x7fff0000
const EINVAL = 0x00050016

test('the filter refuses huge pages and nothing else', (t) => {
  t.is(noHugePagesFilter().length, 8 * 8)
  t.is(answer(X86_64, MADVISE, [0, 0, 14]), EINVAL)
  for (const advice of [0, 4, 12, 13, 15, 16]) t.is(answer(X86_64, MADVISE, [0, 0, advice]), ALLOW)
  t.is(answer(X86_64, 9, [0, 0, 14]), ALLOW, 'another call')
  t.is(answer(0x40000003, MADVISE, [0, 0, 14]), ALLOW, 'call 28 of 32-bit programs is another')
})

/** Runs the filter as the kernel would. */
function answer(arch: number, call: number, args: number[]): number {
  const data = Buffer.alloc(64)
  data.writeUInt32LE(call, 0)
  data.writeUInt32LE(arch, 4)
  for (const [i, arg] of args.entries()) data.writeUInt32LE(arg, 16 + i * 8)
  const program = noHugePagesFilter()
  let accumulator = 0
  for (let at = 0; ; at++) {
    const code = program.readUInt16LE(at * 8)
    const k = program.readUInt32LE(at * 8 + 4)
    if (code === 0x20) accumulator = data.readUInt32LE(k)
    else if (code === 0x15) at += program[at * 8 + (accumulator === k ? 2 : 3)]
    else if (code === 0x06) return k
    else throw new Error(`unknown instruction ${code}`)
  }
}
