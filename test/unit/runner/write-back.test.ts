/** Rounds of writing back guest RAM: one at a time, with pauses, until they are stopped. */
import test from 'brittle'
import { setTimeout as sleep } from 'node:timers/promises'
import { WriteBack } from '../../../lib/runner/write-back.ts'
import { until } from '../../helpers/until.ts'

test('rounds go on after one that failed, never two at once', async (t) => {
  let rounds = 0
  let running = 0
  let together = 0
  const back = new WriteBack(async () => {
    together = Math.max(together, ++running)
    await sleep(2)
    running--
    if (rounds++ === 1) throw new Error('the memory could not be written back')
  }, 1)
  back.start()
  back.start()
  await until(() => Promise.resolve(rounds >= 4))
  t.is(together, 1)
  back.stop()
  await until(() => Promise.resolve(running === 0))
  const ended = rounds
  await sleep(150)
  t.is(rounds, ended, 'none after stop')
  back.start()
  await until(() => Promise.resolve(rounds > ended))
  back.stop()
})

test('stopped and started during a round, it goes on', async (t) => {
  let rounds = 0
  let release = () => {}
  const back = new WriteBack(() => {
    rounds++
    return new Promise((resolve) => (release = resolve))
  }, 1)
  back.start()
  await until(() => Promise.resolve(rounds === 1))
  back.stop()
  back.start()
  release()
  await until(() => Promise.resolve(rounds === 2))
  back.stop()
  release()
  t.pass()
})
