import test from 'brittle'
import { summarizeTap } from '../../helpers/tap.ts'

test('the runner counts tests, not assertions', (t) => {
  const summary = summarizeTap(
    [
      'TAP version 13',
      '# one',
      '    ok 1 - fine',
      '    ok 2 - fine',
      'ok 1 - one # time = 1.2ms',
      '# two',
      '    not ok 1 - should be equal',
      'not ok 2 - two # time = 3ms',
      '# three',
      '    # skipped: needs fio (apt-get install fio)',
      'ok 3 - three # time = 1ms',
      '# four',
      'ok 4 - four # SKIP',
      '1..4'
    ].join('\n')
  )
  t.is(summary.passed, 1)
  t.is(summary.failed, 1)
  t.alike(summary.skipped, [
    { name: 'three', reason: 'needs fio (apt-get install fio)' },
    { name: 'four', reason: 'marked skip in the source' }
  ])
  t.ok(summary.complete)
})

test('a file that stopped in the middle is not complete', (t) => {
  t.absent(summarizeTap('TAP version 13\n# one\nok 1 - one\n').complete)
})
