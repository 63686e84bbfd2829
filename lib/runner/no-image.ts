/** Files that somebody may take for a disk and that no guest would find anything on: by how they start. */

export const HEAD_BYTES = 40 * 1024

interface Kind {
  at: number
  magic: string
  what: string
  hint: string
}

const UNPACK = 'Unpack it first, and name the image that is in it.'
const convert = (what: string) => `Convert it first: qemu-img convert -O qcow2 ${what} disk.qcow2`

const KINDS: readonly Kind[] = [
  { at: 0, magic: 'PK\x03\x04', what: 'a zip archive', hint: UNPACK },
  { at: 0, magic: '7z\xbc\xaf\x27\x1c', what: 'a 7z archive', hint: UNPACK },
  { at: 0, magic: 'Rar!\x1a\x07', what: 'a rar archive', hint: UNPACK },
  { at: 0, magic: '\x1f\x8b\x08', what: 'compressed with gzip', hint: 'Unpack it first: gunzip.' },
  { at: 0, magic: '\xfd7zXZ\x00', what: 'compressed with xz', hint: 'Unpack it first: unxz.' },
  { at: 0, magic: 'BZh', what: 'compressed with bzip2', hint: 'Unpack it first: bunzip2.' },
  {
    at: 0,
    magic: '\x28\xb5\x2f\xfd',
    what: 'compressed with zstd',
    hint: 'Unpack it first: unzstd.'
  },
  { at: 257, magic: 'ustar', what: 'a tar archive', hint: `${UNPACK} So it is with an .ova.` },
  { at: 0, magic: '%PDF-', what: 'a PDF document', hint: 'A disk is a raw or qcow2 image.' },
  { at: 0, magic: '\x7fELF', what: 'a program', hint: 'A Linux kernel goes to --kernel.' },
  { at: 0, magic: 'KDMV', what: 'a VMDK image', hint: convert('FILE.vmdk') },
  { at: 0, magic: '# Disk DescriptorFile', what: 'a VMDK description', hint: convert('FILE.vmdk') },
  { at: 64, magic: '\x7f\x10\xda\xbe', what: 'a VDI image', hint: convert('FILE.vdi') },
  { at: 0, magic: 'vhdxfile', what: 'a VHDX image', hint: convert('FILE.vhdx') },
  { at: 0, magic: 'conectix', what: 'a VHD image', hint: convert('FILE.vhd') },
  { at: 0, magic: 'QED\x00', what: 'a QED image', hint: convert('FILE.qed') }
]

const ISO = { at: 0x8001, magic: 'CD001' }
/** Where a disk that firmware can boot from says so; hybrid ISOs do. */
const BOOT = { at: 510, magic: '\x55\xaa' }
const TEXT_BYTES = 512

/**
 * What a file is that cannot be meant as a disk, and what to do about it; null for one that may be one. A raw image has
 * no mark of its own, so only what is surely something else counts.
 * @param head its first `HEAD_BYTES`, or all of it
 */
export function notADisk(head: Buffer): { what: string; hint: string } | null {
  const kind = KINDS.find((known) => has(head, known))
  if (kind !== undefined) return { what: kind.what, hint: kind.hint }
  if (has(head, ISO) && !has(head, BOOT)) {
    return { what: 'an ISO image', hint: 'An installer goes to --iso, with --size for its disk.' }
  }
  if (isText(head)) return { what: 'text', hint: 'A disk is a raw or qcow2 image.' }
  return null
}

function has(head: Buffer, { at, magic }: { at: number; magic: string }): boolean {
  const wanted = Buffer.from(magic, 'latin1')
  return head.subarray(at, at + wanted.byteLength).equals(wanted)
}

/** Nothing but printable characters and line ends where a disk has its partitions or its file system. */
function isText(head: Buffer): boolean {
  const start = head.subarray(0, TEXT_BYTES)
  return start.every((byte) => byte >= 0x20 || (byte >= 0x09 && byte <= 0x0d))
}
