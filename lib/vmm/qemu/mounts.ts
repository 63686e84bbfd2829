/** What is mounted here, and how to end it. `fusermount3` serves root and ordinary users alike. */
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** `file` has no symbolic links in it. */
export async function isMountPoint(file: string): Promise<boolean> {
  return (await mountPoints()).includes(file)
}

/** Takes every mount below that directory away, where a process that was killed left some. Never rejects. */
export async function unmountBelow(directory: string): Promise<void> {
  for (const file of await mountPoints()) if (file.startsWith(`${directory}/`)) await unmount(file)
}

/** Takes the mounts at `file` away, at once even where somebody still uses them. Never rejects: what stays is told. */
export async function unmount(file: string): Promise<boolean> {
  for (let layers = 0; layers < 8; layers++) {
    if (!(await isMountPoint(file))) return true
    try {
      await run('fusermount3', ['-u', '-z', file])
    } catch {
      break
    }
  }
  return !(await isMountPoint(file))
}

async function mountPoints(): Promise<string[]> {
  const table = await readFile('/proc/self/mountinfo', 'utf8')
  return table.split('\n').map((line) => unescape(line.split(' ')[4] ?? ''))
}

/** Spaces and the like are octal there, see proc_pid_mountinfo(5). */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8))
  )
}
