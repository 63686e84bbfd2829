/** Who may import whom. A new edge needs a line here, with its reason. */
import path from 'node:path'
import test from 'brittle'
import { importsOf, readSources, type SourceFile } from '../helpers/sources.ts'

interface Layer {
  mayImport: string[]
  why: string
}

/** From below to above: a layer may only name layers that stand before it. `base` is open to all. */
const LAYERS: Record<string, Layer> = {
  base: { mayImport: [], why: 'knows nothing of ours' },
  ipc: { mayImport: ['base'], why: 'frames and calls carry any JSON and know no method' },
  format: {
    mayImport: ['base'],
    why: 'bytes only: a codec that knew its users could not be fuzzed'
  },
  chunk: { mayImport: ['base', 'format'], why: 'pure functions from bytes to sealed bytes' },
  store: {
    mayImport: ['base', 'format', 'chunk'],
    why: 'keeps sealed blocks; what they mean is decided above, and it never opens data'
  },
  parcel: {
    mayImport: ['base', 'format', 'chunk', 'store'],
    why: 'maps and versions are made of blocks, and read through the ports of the store'
  },
  policy: {
    mayImport: ['base', 'format'],
    why: 'plans as data: what to fetch, keep or rehearse, decided without doing any of it'
  },
  fleet: {
    mayImport: ['base', 'format', 'chunk', 'store'],
    why: 'keys seal, the registry is a log; it works with no parcel there'
  },
  lease: {
    mayImport: ['base', 'format', 'fleet'],
    why: 'decides from signed entries alone: no network, no store'
  },
  net: {
    mayImport: ['base', 'format', 'store', 'fleet'],
    why: 'moves blocks between devices; what a parcel is must not matter to it'
  },
  lookaside: {
    mayImport: ['base', 'ipc', 'format', 'chunk', 'store'],
    why: 'a process of its own for what may hang: it knows sealed blocks and no peers'
  },
  block: { mayImport: ['base', 'ipc'], why: 'an NBD server over a port; knows no parcels' },
  volume: {
    mayImport: ['base', 'format', 'chunk', 'store', 'parcel', 'block'],
    why: 'joins overlay, map and blocks to a block device; needs neither peers nor a VMM'
  },
  vmm: {
    mayImport: ['base'],
    why: 'gets NBD addresses and a memory file: knows neither parcels nor the swarm'
  },
  runner: {
    mayImport: [
      'base',
      'ipc',
      'format',
      'chunk',
      'store',
      'parcel',
      'policy',
      'block',
      'volume',
      'vmm'
    ],
    why: 'the data plane, with no network and no fleet in its process'
  },
  daemon: {
    mayImport: [
      'base',
      'ipc',
      'format',
      'chunk',
      'store',
      'parcel',
      'policy',
      'fleet',
      'lease',
      'net',
      'lookaside',
      'block',
      'volume',
      'vmm',
      'runner'
    ],
    why: 'the composition root: it alone joins the others'
  },
  cli: {
    mayImport: ['base', 'ipc', 'daemon'],
    why: 'a thin client: what it can do is what the daemon offers'
  }
}

/** Packages that one place wraps; everything else goes through it. */
const PACKAGES: Record<string, { layers: string[]; why: string }> = {
  hypercore: {
    layers: ['store', 'net'],
    why: 'rules on durability and new logs hold in one place'
  },
  corestore: { layers: ['store'], why: 'one process, one owner' },
  hyperswarm: { layers: ['net'], why: 'one swarm a daemon, one firewall' },
  hyperdht: { layers: ['net', 'daemon'], why: 'as hyperswarm; keys are made with it too' },
  'blind-pairing': { layers: ['net', 'fleet'], why: 'expiry and single use are added around it' },
  pino: { layers: ['base'], why: 'what may be logged is decided in base/logger.ts' },
  commander: { layers: ['cli'], why: 'only the command line has options' },
  '@toondepauw/node-zstd': { layers: ['chunk'], why: 'the format names one codec' }
}

/** These construct classes of other layers; the others get them handed in, as ports. */
const COMPOSERS = ['runner', 'daemon', 'cli']
/** Layers whose classes are plain tools or values, free to be made anywhere above. */
const FREE = ['base', 'ipc', 'format', 'chunk']

const sources = readSources(['lib'])

test('every layer has its place in the table', (t) => {
  const names = Object.keys(LAYERS)
  const folders = new Set(sources.map((file) => layerOf(file.name)).filter((name) => name !== ''))
  for (const folder of folders) t.ok(names.includes(folder), `lib/${folder} is in the table`)
  for (const [name, { mayImport }] of Object.entries(LAYERS)) {
    const below = names.slice(0, names.indexOf(name))
    t.alike(
      mayImport.filter((other) => !below.includes(other)),
      [],
      `${name} points downwards`
    )
  }
})

test('imports point downwards', (t) => {
  t.alike(
    violations((file, specifier) => {
      if (!specifier.startsWith('.')) return null
      const from = layerOf(file.name)
      const to = layerOf(path.join(path.dirname(file.name), specifier))
      if (from === '' || to === from || LAYERS[from]?.mayImport.includes(to)) return null
      return `${from} must not import ${to}: ${LAYERS[from]?.why}`
    }),
    []
  )
})

test('wrapped packages are imported by their wrapper only', (t) => {
  t.alike(
    violations((file, specifier) => {
      const rule = PACKAGES[packageOf(specifier)]
      if (rule === undefined || rule.layers.includes(layerOf(file.name))) return null
      return `${specifier} belongs to ${rule.layers.join(', ')}: ${rule.why}`
    }),
    []
  )
})

test('imports of our own files end in .ts, those of Node begin with node:', (t) => {
  const everywhere = [...sources, ...readSources(['bin', 'test'])]
  t.alike(
    violations((_file, specifier) => {
      if (specifier.startsWith('.')) return specifier.endsWith('.ts') ? null : 'without .ts'
      return NODE_MODULES.includes(specifier) ? 'without node:' : null
    }, everywhere),
    []
  )
})

test('only composers construct classes of other layers', (t) => {
  const found: string[] = []
  for (const file of sources) {
    const layer = layerOf(file.name)
    if (layer === '' || COMPOSERS.includes(layer)) continue
    for (const { specifier, names } of importsOf(file)) {
      if (!specifier.startsWith('.')) continue
      const to = layerOf(path.join(path.dirname(file.name), specifier))
      if (to === layer || FREE.includes(to)) continue
      for (const name of names) {
        if (new RegExp(`\\bnew ${name}\\(`).test(file.text)) found.push(`${file.name}: ${name}`)
      }
    }
  }
  t.alike(found, [])
})

const NODE_MODULES = ['assert', 'child_process', 'crypto', 'events', 'fs', 'net', 'os', 'path']

type Judge = (file: SourceFile, specifier: string) => string | null

function violations(judge: Judge, files = sources): string[] {
  return files.flatMap((file) =>
    importsOf(file).flatMap(({ specifier, line }) => {
      const wrong = judge(file, specifier)
      return wrong === null ? [] : [`${file.name}:${line} ${specifier}: ${wrong}`]
    })
  )
}

/** `base` for `lib/base/errors.ts`; empty for what is no layer (`lib/index.ts`). */
function layerOf(name: string): string {
  const parts = name.split('/')
  return parts[0] === 'lib' && parts.length > 2 ? parts[1] : ''
}

function packageOf(specifier: string): string {
  const parts = specifier.split('/')
  return parts.slice(0, specifier.startsWith('@') ? 2 : 1).join('/')
}
