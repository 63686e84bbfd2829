/**
 * `npm run lab`: resumes over links of given rates between network namespaces, compared with what was published of
 * ISR-2. Real daemons, real VMs; the links are emulated in user space. As root.
 *
 * Ends with 0 when everything was measured, 1 otherwise, 130 when it was interrupted.
 */
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { runProgram } from '../../examples/demo/program.ts'
import { runLab } from './lab.ts'
import { labOptions, USAGE, type LabOptions } from './options.ts'
import { plot } from './plot.ts'
import { renderReport, type LabReport } from './report.ts'

await runProgram({
  name: 'lab',
  usage: USAGE,
  options: labOptions,
  play: async ({ directory, timeline, signal }, options) => {
    const report = await runLab({ directory, timeline, signal }, options)
    return { report, out: await write(report, options) }
  },
  report({ report, out }, json) {
    const to = json ? process.stderr : process.stdout
    to.write(`\n${renderReport(report)}\n\nPlot and JSON: ${out}\n`)
    if (json) process.stdout.write(`${JSON.stringify(report)}\n`)
    return 0
  }
})

/** Returns the directory. */
async function write(report: LabReport, options: LabOptions): Promise<string> {
  const out = options.out ?? (await mkdtemp(path.join(options.directory, 'hyperparcel-plots-')))
  await mkdir(out, { recursive: true })
  await writeFile(path.join(out, 'lab.json'), `${JSON.stringify(report, null, 2)}\n`)
  await writeFile(path.join(out, 'lab.svg'), plot(report.rows))
  return out
}
