/** The console moved next to the guest that it speaks to. */
export * from '../../examples/guest/serial-console.ts'
