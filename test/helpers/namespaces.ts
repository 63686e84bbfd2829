/** Hosts on one Ethernet that leads nowhere else: two network namespaces and a cable between them. Needs root. */
import { spawnSync } from 'node:child_process'
import type { Assert } from 'brittle'
import { tool } from './images.ts'

export interface Host {
  address: string
  /** Starts a program there. */
  through: string[]
}

/** They and their cable go with the test, or with its process. */
export async function twoHosts(t: Assert): Promise<[Host, Host]> {
  const names = ['a', 'b'].map((letter) => `hplan${process.pid}${letter}`)
  const clean = () => {
    for (const name of names) spawnSync('ip', ['netns', 'del', name], { stdio: 'ignore' })
  }
  process.on('exit', clean)
  t.teardown(
    () => {
      process.off('exit', clean)
      clean()
    },
    { force: true, order: 110 }
  )
  for (const name of names) await tool('ip', 'netns', 'add', name)
  const cable = ['link', 'add', 'eth0', 'netns', names[0], 'type', 'veth']
  await tool('ip', ...cable, 'peer', 'name', 'eth0', 'netns', names[1])
  const hosts = names.map((name, i) => ({
    address: `10.77.66.${i + 1}`,
    through: ['ip', 'netns', 'exec', name]
  }))
  for (const [i, name] of names.entries()) {
    await tool('ip', '-n', name, 'addr', 'add', `${hosts[i].address}/24`, 'dev', 'eth0')
    await tool('ip', '-n', name, 'link', 'set', 'lo', 'up')
    await tool('ip', '-n', name, 'link', 'set', 'eth0', 'up')
  }
  return [hosts[0], hosts[1]]
}
