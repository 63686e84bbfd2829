declare module 'safety-catch' {
  /** Swallows faults of the world and rethrows programmer errors (TypeError, assertions, …) so that they crash. */
  function safetyCatch(err: unknown): void
  export = safetyCatch
}
