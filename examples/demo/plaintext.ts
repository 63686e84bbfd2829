/** The search for the guest's content where it must not be, over the whole demo. */
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { HyperparcelError } from '../../lib/base/errors.ts'
import type { Capture } from './capture.ts'
import { makeControl, type Markers, makeMarkers, makeNeedles } from './needles.ts'
import { searchFile, searchTree, type Hit, type Needle } from './search.ts'

/** Where the reading of a large file in pieces could go wrong. */
const PIECE_BYTES = 4 * 1024 * 1024

export interface PlaintextResult {
  hits: Hit[]
  bytes: number
  files: number
  capture: boolean
  captureProblem: string | null
  captureBytes: number
  captureHits: number
  control: { files: number; capture: number; guest_memory: number }
}

export class PlaintextSearch {
  readonly markers: Markers = makeMarkers()
  readonly #homes: string[]
  readonly #scratch: string
  readonly #control: Needle = makeControl()
  readonly #result: PlaintextResult = {
    hits: [],
    bytes: 0,
    files: 0,
    capture: false,
    captureProblem: 'it was not started',
    captureBytes: 0,
    captureHits: 0,
    control: { files: 0, capture: 0, guest_memory: 0 }
  }
  #needles: Needle[] = []
  #capture: Capture | null = null

  constructor(homes: string[], scratch: string) {
    this.#homes = homes
    this.#scratch = scratch
  }

  /** @param samples random bytes of the guest, hex */
  know(samples: Record<string, string>): void {
    this.#needles = makeNeedles(this.markers, samples)
  }

  watch(capture: Capture | null, problem: string | null): void {
    this.#capture = capture
    this.#result.captureProblem = problem
  }

  /** Plants a text in files, across the seam of two pieces and at the end, and looks for it as for the others. */
  async proveFiles(): Promise<void> {
    const directory = path.join(this.#scratch, 'deep', 'down')
    await mkdir(directory, { recursive: true })
    const { bytes } = this.#control
    const content = Buffer.alloc(2 * PIECE_BYTES + bytes.byteLength)
    bytes.copy(content, PIECE_BYTES - 5)
    bytes.copy(content, 2 * PIECE_BYTES)
    await writeFile(path.join(directory, 'control'), content)
    const found = await searchTree(this.#scratch, [...this.#needles, this.#control])
    if (found.hits.length !== 2) {
      throw new HyperparcelError('SEARCH_FAILED', 'The search does not find what is there')
    }
    this.#result.control.files = found.hits.length
  }

  /** Every needle is in the memory of the guest that runs in this home, as the VMM sees it. */
  async proveGuestMemory(home: string): Promise<void> {
    const { mounts } = await searchTree(path.join(home, 'run'), this.#needles)
    const memory = mounts.find((file) => path.basename(file) === 'memory')
    if (memory === undefined) {
      throw new HyperparcelError('SEARCH_FAILED', `${home} shows no guest memory to search`)
    }
    const { hits } = await searchFile(memory, this.#needles)
    this.#result.control.guest_memory = new Set(hits.map((hit) => hit.needle)).size
  }

  /** Every file of both homes, as they are now. Returns the number of hits. */
  async look(): Promise<number> {
    let hits = 0
    for (const home of this.#homes) {
      const found = await searchTree(home, this.#needles)
      this.#result.files += found.files
      this.#result.bytes += found.bytes
      this.#result.hits.push(...found.hits)
      hits += found.hits.length
    }
    return hits
  }

  async finish(): Promise<PlaintextResult> {
    const result = this.#result
    if (this.#capture === null) return result
    const captured = await this.#capture.finish(this.#needles, this.#control)
    result.capture = captured.incomplete === null
    result.captureProblem = captured.incomplete
    result.captureBytes = captured.bytes
    result.control.capture = captured.controlHits
    result.captureHits = captured.hits.length
    result.hits.push(...captured.hits)
    return result
  }
}
