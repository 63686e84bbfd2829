/** How daemon and runner are started, so that memory they are done with goes back to the system. */

/** A young generation of 3 × 4 MiB instead of 3 × 16: as fast here, where most bytes are outside of V8's heap. */
export const NODE_ARGUMENTS = ['--max-semi-space-size=4']

/**
 * glibc, mallopt(3); other C libraries ignore it. Two heaps instead of eight a core. And a fixed size from which on
 * buffers are mapped on their own: left alone it grows to 32 MiB, and they leave holes between small ones.
 */
export const DAEMON_MALLOC = {
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: String(128 * 1024)
}

/**
 * The compressor takes between 2 and 4 MiB for each segment and gives them back: mapped on their own, or cut off the
 * heap, they would be fresh pages each time. For an import of 564 MB that were 870,000 page faults, 40,000 now.
 */
export const RUNNER_MALLOC = {
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: String(4 * 1024 * 1024),
  MALLOC_TRIM_THRESHOLD_: String(4 * 1024 * 1024)
}
