#!/usr/bin/env node
import { exit } from '../lib/base/exit.ts'
import { main } from '../lib/cli/main.ts'

// A reader that has seen enough (`| head`) is no failure.
process.stdout.on('error', (err: NodeJS.ErrnoException) =>
  process.exit(err.code === 'EPIPE' ? 0 : 1)
)

const code = await main(process.argv.slice(2))
// A pipe may not have taken all of it yet, and what it has not is lost at the exit.
await new Promise((resolve) => process.stdout.write('', resolve))
exit(code)
