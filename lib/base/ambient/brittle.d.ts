declare module 'brittle' {
  export interface TestOptions {
    /** Milliseconds; 30 s by default, 0 for none. */
    timeout?: number
    skip?: boolean
    todo?: boolean
    solo?: boolean
  }

  interface Equality {
    (actual: unknown, expected: unknown, message?: string): void
    coercively(actual: unknown, expected: unknown, message?: string): void
  }

  interface Exception {
    (fn: (() => unknown) | Promise<unknown>, message?: string): Promise<void>
    (fn: (() => unknown) | Promise<unknown>, expected: unknown, message?: string): Promise<void>
    /** Accepts native errors (TypeError, …) too. */
    all(fn: (() => unknown) | Promise<unknown>, expected?: unknown, message?: string): Promise<void>
  }

  export interface Assert {
    readonly name: string
    is: Equality
    not: Equality
    alike: Equality
    unlike: Equality
    ok(value: unknown, message?: string): void
    absent(value: unknown, message?: string): void
    pass(message?: string): void
    fail(message?: string): void
    exception: Exception
    /** Resolves with the milliseconds it took. */
    execution(fn: (() => unknown) | Promise<unknown>, message?: string): Promise<number>
    comment(...message: unknown[]): void
    plan(assertions: number): void
    timeout(ms: number): void
    /** Runs after the test, last registered last; lower `order` first; with `force` also after an error. */
    teardown(fn: () => unknown, opts?: { order?: number; force?: boolean }): void
    /** A fresh directory, removed at the end. */
    tmp(): Promise<string>
    end(): void
  }

  export type TestFunction = (t: Assert) => unknown

  /** Not a `Promise`: brittle runs the tests of a file one after the other, nobody has to wait for one. */
  export interface Test {
    (name: string, fn: TestFunction): PromiseLike<boolean>
    (name: string, opts: TestOptions, fn: TestFunction): PromiseLike<boolean>
    skip(name: string, fn: TestFunction): PromiseLike<boolean>
    skip(name: string, opts: TestOptions, fn: TestFunction): PromiseLike<boolean>
    solo(name: string, fn: TestFunction): PromiseLike<boolean>
    solo(name: string, opts: TestOptions, fn: TestFunction): PromiseLike<boolean>
    hook(name: string, fn: TestFunction): PromiseLike<boolean>
    configure(opts: { timeout?: number; bail?: boolean }): void
  }

  const test: Test
  export default test
}
