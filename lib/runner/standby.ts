/**
 * A runner that is loaded and waits: `node standby.js <its file>`. The first line of its standard input is the socket of
 * the runner that it becomes; when that input ends first, so does the process.
 */
import process from 'node:process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { exit } from '../base/exit.ts'
import { runRunner } from './run.ts'

const socket = await firstLine()
if (socket === null) exit(0)
else {
  // For whoever lists processes; only as long as the command line was.
  process.title = `node ${fileURLToPath(new URL('main.js', import.meta.url))} ${socket}`
  await runRunner(socket)
}

async function firstLine(): Promise<string | null> {
  const lines = createInterface({ input: process.stdin })
  try {
    for await (const line of lines) return line
    return null
  } finally {
    process.stdin.destroy()
  }
}
