/** What is refused as a disk, and what is not. */
import test from 'brittle'
import { HEAD_BYTES, notADisk } from '../../../lib/runner/no-image.ts'

function file(...pieces: [at: number, text: string][]): Buffer {
  const head = Buffer.alloc(HEAD_BYTES)
  for (const [at, text] of pieces) head.write(text, at, 'latin1')
  return head
}

test('archives, other formats, ISOs and text are no disks', (t) => {
  const no = (head: Buffer, what: RegExp) => t.ok(what.test(notADisk(head)?.what ?? ''), `${what}`)
  no(file([0, 'PK\x03\x04']), /zip/)
  no(file([0, '\x1f\x8b\x08']), /gzip/)
  no(file([257, 'ustar\x0000']), /tar/)
  no(file([64, '\x7f\x10\xda\xbe']), /VDI/)
  no(file([0x8001, 'CD001']), /ISO/)
  no(Buffer.from('#!/bin/sh\n\techo hello\n'), /text/)
  no(Buffer.from('grüße\n'.repeat(1000)), /text/)
})

test('disks are', (t) => {
  const yes = (head: Buffer, what: string) => t.is(notADisk(head), null, what)
  yes(file(), 'an empty one')
  yes(file([510, '\x55\xaa']), 'one with partitions')
  yes(file([510, '\x55\xaa'], [0x8001, 'CD001']), 'a hybrid ISO')
  yes(file([1080, '\x53\xef']), 'ext4')
  yes(file([3, 'NTFS    '], [510, '\x55\xaa']), 'NTFS')
})
