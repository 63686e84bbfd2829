/** Handlers of the process (`protocol.ts`). */
import { stat } from 'node:fs/promises'
import path from 'node:path'
import { HyperparcelError } from '../base/errors.ts'
import { STICK_DIRECTORY } from '../format/stick.ts'
import { Reply, type Handlers, type RequestContext } from '../ipc/channel.ts'
import { decodeProof, decodeProofs, encodeProof } from './proof-batch.ts'
import type { LookasideApi } from './protocol.ts'
import { Shelf } from './shelf.ts'
import { StickFill } from './stick-fill.ts'
import { folderName } from './stick-seal.ts'

type Named<M extends keyof LookasideApi> = LookasideApi[M]['params']

export class Worker {
  #key: Buffer | null = null
  #shelf: Shelf | null = null
  readonly #fills = new Map<number, StickFill>()
  #nextFill = 1

  handlers(): Handlers {
    return {
      start: ({ stickKey }: Named<'start'>) => {
        this.#key = Buffer.from(stickKey, 'hex')
        this.#shelf = new Shelf(this.#key)
        return null
      },
      look: async ({ paths }: Named<'look'>) => ({ found: await this.#started.look(paths) }),
      'stick.cards': ({ folder }: Named<'stick.cards'>) => ({
        cards: this.#started.stick(folder)?.index.cards.map((card) => card.toString('hex')) ?? []
      }),
      'stick.log': ({ folder, log }: Named<'stick.log'>) => {
        const tree = this.#started.stick(folder)?.index.log(Buffer.from(log, 'hex'))
        return tree === undefined ? null : { length: tree.length, runs: tree.runs() }
      },
      'stick.block': async ({ folder, log, index, nodes }: Named<'stick.block'>) => {
        const stick = this.#started.stick(folder)
        const block = await stick?.proveBlock(Buffer.from(log, 'hex'), index, nodes)
        if (block == null) return null
        const proof = encodeProof({ block, upgrade: null, manifest: null })
        return new Reply({ nodes: block.nodes.length }, [proof])
      },
      'stick.length': ({ folder, log, from }: Named<'stick.length'>) => {
        const proof = this.#started.stick(folder)?.proveLength(Buffer.from(log, 'hex'), from)
        if (proof == null) return null
        return new Reply({ length: from + proof.upgrade!.length }, [
          encodeProof({ block: null, ...proof })
        ])
      },
      'fill.begin': (params: Named<'fill.begin'>) => this.#begin(params),
      'fill.need': ({ fill, log, runs }: Named<'fill.need'>, { attachment }: RequestContext) =>
        this.#fill(fill).need(Buffer.from(log, 'hex'), runs, decodeProof(attachment)),
      'fill.cover': ({ fill, log }: Named<'fill.cover'>, { attachment }: RequestContext) => {
        const { upgrade } = decodeProof(attachment)
        if (upgrade !== null) this.#fill(fill).cover(Buffer.from(log, 'hex'), upgrade)
      },
      'fill.room': ({ fill, bytes }: Named<'fill.room'>) => this.#fill(fill).room(bytes),
      'fill.blocks': (params: Named<'fill.blocks'>, { attachment }: RequestContext) =>
        this.#add(params, attachment),
      'fill.end': async ({ fill, version }: Named<'fill.end'>) => {
        const filling = this.#fill(fill)
        const { annex } = version
        const bytes = await filling.end({
          parcel: Buffer.from(version.parcel, 'hex'),
          version: Buffer.from(version.id, 'hex'),
          number: version.number,
          annex: annex && { log: Buffer.from(annex.log, 'hex'), block: annex.block }
        })
        this.#fills.delete(fill)
        return { bytes, written: filling.bytes }
      },
      'fill.stop': async ({ fill }: Named<'fill.stop'>) => {
        const filling = this.#fills.get(fill)
        this.#fills.delete(fill)
        await filling?.stop()
      }
    }
  }

  async close(): Promise<void> {
    for (const fill of this.#fills.values()) await fill.stop()
    await this.#shelf?.close()
  }

  get #started(): Shelf {
    if (this.#shelf !== null) return this.#shelf
    throw new HyperparcelError('USAGE', 'This process got no key yet')
  }

  #fill(id: number): StickFill {
    const fill = this.#fills.get(id)
    if (fill !== undefined) return fill
    throw new HyperparcelError('USAGE', 'There is no such fill')
  }

  async #begin(params: Named<'fill.begin'>): Promise<LookasideApi['fill.begin']['result']> {
    const { path: medium, parcel, cards, partBytes } = params
    const found = await stat(medium).catch(() => null)
    if (found?.isDirectory() !== true) {
      throw new HyperparcelError('PATH_UNUSABLE', `${medium} is no directory`, {
        hint: 'Name the folder where the stick is mounted, or any other folder.'
      })
    }
    const inside = path.basename(medium) === STICK_DIRECTORY
    const root = inside ? medium : path.join(medium, STICK_DIRECTORY)
    const folder = path.join(root, folderName(Buffer.from(parcel, 'hex'), this.#key!))
    const fill = await StickFill.begin({
      folder,
      key: this.#key!,
      cards: cards.map((card) => Buffer.from(card, 'hex')),
      partBytes
    })
    const id = this.#nextFill++
    this.#fills.set(id, fill)
    return { fill: id, folder }
  }

  async #add({ fill, log, renew }: Named<'fill.blocks'>, attachment: Buffer): Promise<null> {
    const filling = this.#fill(fill)
    const key = Buffer.from(log, 'hex')
    for (const { block } of decodeProofs(attachment)) {
      if (block === null) continue
      if (renew) filling.renew(key, block.index, block.nodes)
      else await filling.add(key, block)
    }
    return null
  }
}
