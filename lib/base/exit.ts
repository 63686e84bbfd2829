/** The end of this process, also with a thread in native code that never returns. */

let stuck = false

/** `process.exit` would wait for such a thread without end. */
export function noteStuckThread(): void {
  stuck = true
}

export function exit(code: number): never {
  if (stuck) process.kill(process.pid, 'SIGKILL')
  process.exit(code)
}
