/** Picks kernel modules with what they depend on, in loading order; the package has no `modules.dep` yet. */
import { copyFile, readFile, readdir } from 'node:fs/promises'
import path from 'node:path'

/** Copies the modules into `target`; returns their file names in the order in which to load them. */
export async function copyModules(
  source: string,
  wanted: string[],
  target: string
): Promise<string[]> {
  const files = new Map<string, string>()
  for (const name of await readdir(source, { recursive: true })) {
    const match = /([^/]+)\.ko$/.exec(name)
    if (match !== null) files.set(canonical(match[1]), path.join(source, name))
  }
  const order: string[] = []
  const seen = new Set<string>()
  async function add(name: string): Promise<void> {
    if (seen.has(name)) return
    seen.add(name)
    const file = files.get(name)
    if (file === undefined) return // built into the kernel
    for (const dependency of await dependencies(file)) await add(dependency)
    await copyFile(file, path.join(target, `${name}.ko`))
    order.push(`${name}.ko`)
  }
  for (const name of wanted) await add(canonical(name))
  return order
}

/** From the `depends=` string of the module's `.modinfo` section. `softdep` crc32c is ext4's only hidden need. */
async function dependencies(file: string): Promise<string[]> {
  const data = await readFile(file)
  const names: string[] = []
  for (const [, key, value] of data
    .toString('latin1')
    .matchAll(/\0(depends|softdep)=([^\0]*)\0/g)) {
    const list = key === 'depends' ? value.split(',') : value.replace(/^pre: /, '').split(' ')
    names.push(...list.filter((name) => name !== '').map(canonical))
  }
  if (path.basename(file) === 'ext4.ko') names.push('crc32c_generic', 'crc32c_intel')
  return names
}

function canonical(name: string): string {
  return name.replaceAll('-', '_')
}
