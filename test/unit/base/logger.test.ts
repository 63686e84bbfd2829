import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import test from 'brittle'
import { HyperparcelError } from '../../../lib/base/errors.ts'
import { createLogger } from '../../../lib/base/logger.ts'

test('JSON lines with the error, its code and its causes', (t) => {
  const lines: string[] = []
  const write = (line: string) => void lines.push(line)
  const logger = createLogger({ name: 'daemon', level: 'info', format: 'json', write })
  logger.debug({}, 'not said')
  const cause = new HyperparcelError('DISK_FULL', 'No space')
  const err = new HyperparcelError('COMMIT_FAILED', 'No version', { cause, context: { n: 3 } })
  logger.child({ parcel: 'work' }).warn({ err }, 'a commit failed')
  t.is(lines.length, 1)
  const line = JSON.parse(lines[0]) as Record<string, unknown>
  t.is(line['msg'], 'a commit failed')
  t.is(line['parcel'], 'work')
  t.alike(line['err'], {
    code: 'COMMIT_FAILED',
    message: 'No version',
    context: { n: 3 },
    cause: { code: 'DISK_FULL', message: 'No space' }
  })
})

test('plain lines for a terminal', (t) => {
  const lines: string[] = []
  const write = (line: string) => void lines.push(line)
  const logger = createLogger({ name: 'daemon', level: 'info', format: 'text', write })
  logger.info({ peers: 2 }, 'online')
  logger.error({ err: new HyperparcelError('DISK_FULL', 'No space') }, 'stopped')
  t.ok(/^\d\d:\d\d:\d\d\.\d{3} info daemon: online peers=2\n$/.test(lines[0]), lines[0])
  t.ok(lines[1].endsWith(' error daemon: stopped: No space (DISK_FULL)\n'), lines[1])
})

test('a log on a full disk ends nobody', async (t) => {
  const full = await open('/dev/full', 'w')
  const module = new URL('../../../lib/base/logger.js', import.meta.url).href
  const program = `
    const { createLogger } = await import(${JSON.stringify(module)})
    const logger = createLogger({ name: 'runner' })
    for (let i = 0; i < 3; i++) logger.error({ i }, 'said to nobody')
    process.stdout.write('alive')`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', full.fd]
  })
  let said = ''
  child.stdout!.on('data', (data: Buffer) => (said += data.toString()))
  const [code] = (await once(child, 'close')) as [number | null]
  await full.close()
  t.alike([code, said], [0, 'alive'])
})
