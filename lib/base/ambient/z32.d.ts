declare module 'z32' {
  const z32: {
    encode(data: Uint8Array): string
    /** Throws for a character that is none of the alphabet. */
    decode(text: string): Uint8Array
  }
  export default z32
}
