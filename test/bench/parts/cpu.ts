/** CPU time of processes, from /proc/PID/stat (proc(5)); its clock ticks 100 times a second. */
import { readdirSync, readFileSync } from 'node:fs'

const TICKS_PER_SECOND = 100
/** Of the fields after the name, which is in brackets and may hold anything. */
const PPID = 1
const UTIME = 11
const STIME = 12
const CUTIME = 13
const CSTIME = 14

/** Of that process and of all that it waited for: children that run still are not in it. */
export function cpuSeconds(pid: number): number {
  const fields = statFields(pid)
  if (fields === null) throw new Error(`There is no process ${pid}`)
  const ticks = [UTIME, STIME, CUTIME, CSTIME].reduce((sum, i) => sum + Number(fields[i]), 0)
  return ticks / TICKS_PER_SECOND
}

/** Of the children of this process that it has waited for, and of theirs. */
export function cpuSecondsOfCommands(): number {
  const fields = statFields(process.pid)!
  return (Number(fields[CUTIME]) + Number(fields[CSTIME])) / TICKS_PER_SECOND
}

/** Ids of its children of that name. */
export function childrenOf(pid: number, name: string): number[] {
  return readdirSync('/proc').flatMap((entry) => {
    const id = Number(entry)
    if (!Number.isInteger(id)) return []
    const fields = statFields(id, name)
    return fields !== null && Number(fields[PPID]) === pid ? [id] : []
  })
}

/** Resident memory of a process, in bytes; 0 when it is gone. */
export function residentBytes(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1')
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

function statFields(pid: number, name?: string): string[] | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const end = text.lastIndexOf(')')
    if (name !== undefined && text.slice(text.indexOf('(') + 1, end) !== name) return null
    return text.slice(end + 2).split(' ')
  } catch {
    return null // gone
  }
}
