/** The data-plane process: `node main.js <socket>`. */
import process from 'node:process'
import { runRunner } from './run.ts'

await runRunner(process.argv[2])
