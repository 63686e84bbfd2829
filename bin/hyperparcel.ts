#!/usr/bin/env node
import { main } from '../lib/cli/main.ts'

// A reader that has seen enough (`| head`) is no failure.
process.stdout.on('error', (err: NodeJS.ErrnoException) =>
  process.exit(err.code === 'EPIPE' ? 0 : 1)
)

process.exit(await main(process.argv.slice(2)))
