import test from 'brittle'
import path from 'node:path'
import { CHUNK_BYTES } from '../../../lib/base/limits.ts'
import { ZeroBase } from '../../../lib/volume/base.ts'
import { Overlay } from '../../../lib/volume/overlay.ts'
import { PAGE_CHUNKS, QuietPages } from '../../../lib/volume/quiet-pages.ts'
import { Volume } from '../../../lib/volume/volume.ts'
import { SEAL } from './model.ts'

test('quiet pages: what was changed and left alone for long enough, each once', (t) => {
  const pages = new QuietPages(10 * PAGE_CHUNKS + 1)
  t.is(pages.pages, 11)
  pages.note(2 * PAGE_CHUNKS + 5, 1)
  pages.note(4 * PAGE_CHUNKS - 1, 2)
  t.is(pages.next(0, 1), -1, 'just written')
  pages.tick()
  t.alike(all(pages, 1), [2, 3, 4])
  t.is(pages.next(0, 2), -1, 'not for that long')
  pages.take(3)
  t.alike(all(pages, 1), [2, 4], 'one that was taken is not offered again')
  pages.note(3 * PAGE_CHUNKS, 1)
  t.alike(all(pages, 1), [2, 4], 'written again')
  pages.tick()
  t.alike(all(pages, 1), [2, 3, 4])
  pages.take(2)
  pages.giveBack(2)
  t.alike(all(pages, 2), [2, 4], 'given back')
  pages.note(10 * PAGE_CHUNKS, 1)
  pages.tick()
  t.is(pages.next(5, 1), 10, 'the last one is smaller')
})

test('quiet pages: a volume tells what is changed, and what was before', async (t) => {
  const chunks = 5 * PAGE_CHUNKS
  const sizeBytes = chunks * CHUNK_BYTES
  const file = path.join(await t.tmp(), 'disk0')
  const options = { volume: 0, name: 'disk0', sizeBytes, baseId: '', ...SEAL }
  const volume = new Volume(new ZeroBase(sizeBytes), await Overlay.create(file, options))
  t.teardown(() => volume.close())
  const write = (chunk: number) =>
    volume.pwrite(Buffer.alloc(CHUNK_BYTES, 7), chunk * CHUNK_BYTES, false)
  await write(3)
  const pages = volume.watch()
  pages.tick()
  await write(2 * PAGE_CHUNKS)
  await volume.pwrite(Buffer.from([1]), 4 * PAGE_CHUNKS * CHUNK_BYTES + 100, false)
  t.alike(all(pages, 1), [0])
  pages.tick()
  t.alike(all(pages, 1), [0, 2, 4])
  await volume.trim(0, 10 * CHUNK_BYTES, false)
  t.alike(all(pages, 1), [2, 4])
  t.alike([...volume.changed(0, PAGE_CHUNKS)], [], 'zeros are not data')
  await write(2 * PAGE_CHUNKS + 1)
  const changed = [...volume.changed(0, chunks)].flatMap(({ first, count }) =>
    Array.from({ length: count }, (_, i) => first + i)
  )
  t.alike(changed, [2 * PAGE_CHUNKS, 2 * PAGE_CHUNKS + 1, 4 * PAGE_CHUNKS])
})

function all(pages: QuietPages, ticks: number): number[] {
  const found: number[] = []
  for (let page = pages.next(0, ticks); page !== -1; page = pages.next(page + 1, ticks)) {
    found.push(page)
  }
  return found
}
