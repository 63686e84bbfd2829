/** Counts the tests in what brittle prints: top-level TAP lines are tests, indented ones assertions. */
import { SKIPPED } from './requirements.ts'

export interface TapSummary {
  passed: number
  failed: number
  skipped: { name: string; reason: string }[]
  /** The plan line came, so the file ran to its end. */
  complete: boolean
}

export function summarizeTap(output: string): TapSummary {
  const summary: TapSummary = { passed: 0, failed: 0, skipped: [], complete: false }
  let skipReason: string | null = null
  for (const line of output.split('\n')) {
    const comment = /^ +# (.*)$/.exec(line)?.[1]
    if (comment?.startsWith(SKIPPED)) skipReason = comment.slice(SKIPPED.length).trim()
    if (/^1\.\.\d+$/.test(line)) summary.complete = true
    const test = /^(not )?ok \d+ - (.*?)(?: # (SKIP|TODO|time) ?.*)?$/.exec(line)
    if (test === null) continue
    const [, not, name, directive] = test
    if (not !== undefined) summary.failed++
    else if (skipReason !== null) summary.skipped.push({ name, reason: skipReason })
    else if (directive === 'SKIP' || directive === 'TODO') {
      summary.skipped.push({ name, reason: `marked ${directive.toLowerCase()} in the source` })
    } else summary.passed++
    skipReason = null
  }
  return summary
}
