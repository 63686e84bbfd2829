/**
 * Where tests end the process as SIGKILL does, between steps of which each must leave everything right:
 * HYPERPARCEL_TEST_KILL_AT=cleared:2 when it passes that point for the second time. One test for each operation goes
 * through all of its points.
 */
export const FAULT_POINTS = {
  prune: [
    /** prune, evict: it is decided which blocks go. */
    'decided',
    /** The dedup index knows a run of blocks no more. */
    'forgotten',
    /** A run of blocks is deleted. */
    'cleared',
    /** All of them are, durably. */
    'swept',
    /** Before each step that gives space back to the disk. */
    'compacting'
  ],
  repack: [
    /** prune: needed chunks of segments that are mostly dead were copied. */
    'repacked',
    /** All maps that named them were written anew, and say so in the log. */
    'reissued',
    /** Durably. */
    'maps-flushed',
    /** The registry names the new maps, durably; the old segments and maps are still there. */
    'maps-announced'
  ],
  commit: [
    /** Daemon: a log was chosen and announced. */
    'begun',
    /** Blocks are in the log, the dedup index does not know them. */
    'appended',
    /** It does. */
    'indexed',
    /** Runner: all but the record is in the log. */
    'stored',
    /** The overlays name the version to come, durably. */
    'marked',
    /** Daemon: the record is in the log. */
    'recorded',
    /** And durable. */
    'flushed',
    /** The registry has the version, durably. */
    'announced',
    /** Runner: it was told so; the overlays are still there. */
    'published',
    /** They are gone. */
    'released'
  ],
  index: [
    /** A segment was read that the index did not know. */
    'found',
    /** It is in the table in memory. */
    'tabled',
    /** And in the id file. */
    'noted'
  ],
  overlay: [
    /** Before the slots of a batch are written. */
    'placed',
    /** They are in the file, nothing refers to them yet. */
    'written',
    /** Before a sync. */
    'syncing',
    /** After it, before what it covers is acknowledged and what that replaced is free. */
    'synced',
    /** One copy of the header is in the file, not synced. */
    'headed',
    /** It is synced. */
    'header-synced',
    /** A frozen generation is part of a version, its slots are not free yet. */
    'raised'
  ]
} as const

export type FaultPoint = (typeof FAULT_POINTS)[keyof typeof FAULT_POINTS][number]

const VARIABLE = 'HYPERPARCEL_TEST_KILL_AT'
const setting = process.env[VARIABLE]
const [name, count = '1'] = (setting ?? '').split(':')
let passed = 0

/** What a process of ours must inherit to end there. */
export const FAULT_ENVIRONMENT = setting === undefined ? {} : { [VARIABLE]: setting }

export function faultPoint(point: FaultPoint): void {
  if (point === name && ++passed === Number(count)) process.kill(process.pid, 'SIGKILL')
}
