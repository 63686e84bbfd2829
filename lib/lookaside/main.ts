/**
 * The process that touches what lies nearby: `node main.js`, with a socket to the daemon as descriptor 3. A stick that
 * is pulled out in the middle of a read may keep a thread for minutes; it does not keep one of the daemon's.
 */
import net from 'node:net'
import process from 'node:process'
import { exit } from '../base/exit.ts'
import { Channel } from '../ipc/channel.ts'
import { Worker } from './worker.ts'

const worker = new Worker()
const channel = new Channel(new net.Socket({ fd: 3 }), worker.handlers())
channel.once('close', () => {
  const end = () => exit(0)
  worker.close().then(end, end)
})

// They are for the daemon, whose end is ours.
process.on('SIGINT', () => {})
process.on('SIGHUP', () => {})
