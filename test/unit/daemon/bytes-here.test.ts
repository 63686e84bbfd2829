/** How much of a version is here, also where its maps are not. */
import test from 'brittle'
import { estimate, type Measured } from '../../../lib/daemon/versions/bytes-here.ts'

const whole: Measured = { bytesTotal: 100, bytesNew: 100, bytes: 100, whole: true, mapped: true }
const absent: Measured = { bytesTotal: 110, bytesNew: 30, bytes: 0, whole: false, mapped: false }

test('what a parent has and its successor did not add is here', (t) => {
  t.alike(estimate([whole]), { bytes: 100, whole: true })
  t.alike(estimate([absent]), { bytes: 0, whole: false }, 'nothing is known')
  t.alike(estimate([absent, whole]), { bytes: 80, whole: false })
  t.alike(estimate([absent, absent, whole]), { bytes: 50, whole: false })
})

test('maps are exact, estimates are never more than all or less than what was found', (t) => {
  const mapped = { ...absent, bytes: 7, mapped: true }
  t.alike(estimate([mapped, whole]), { bytes: 7, whole: false })
  t.alike(estimate([absent, mapped]), { bytes: 0, whole: false }, 'less than nothing is nothing')
  t.alike(estimate([{ ...absent, bytes: 5 }, mapped]), { bytes: 5, whole: false })
  t.alike(estimate([{ ...absent, bytesNew: 0 }, whole]), { bytes: 110, whole: false })
})
