import test from 'brittle'
import { HyperparcelError } from '../../../lib/base/errors.ts'
import { METHODS, obeyedSignal, type MethodName } from '../../../lib/daemon/api.ts'

test('a method obeys a cancel and a lost client as its rules say', (t) => {
  for (const [name, rules] of Object.entries(METHODS)) {
    for (const [code, rule] of [
      ['INTERRUPTED', rules.oncancel],
      ['CHANNEL_CLOSED', rules.onclose]
    ]) {
      const controller = new AbortController()
      const signal = obeyedSignal(name as MethodName, controller.signal)
      controller.abort(new HyperparcelError(code, 'x'))
      t.is(signal.aborted, rule === 'undo', `${name} ${code}`)
      t.is(obeyedSignal(name as MethodName, controller.signal).aborted, rule === 'undo', 'too late')
    }
  }
})
