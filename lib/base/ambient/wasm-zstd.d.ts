/** The WebAssembly module inside of `@foxglove/wasm-zstd`, whose own functions allocate for each call. */
declare module '@foxglove/wasm-zstd/dist/wasm-zstd.js' {
  interface ZstdModule {
    /** All of the module's memory; another array whenever it has grown. */
    readonly HEAPU8: Uint8Array
    _malloc(bytes: number): number
    _free(pointer: number): void
    /** Returns the bytes written to the target, or -1. */
    _decompress(target: number, targetBytes: number, source: number, sourceBytes: number): number
  }
  export default function load(): Promise<ZstdModule>
}
