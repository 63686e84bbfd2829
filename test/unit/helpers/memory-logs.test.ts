import test from 'brittle'
import { logStoreSuite } from '../../conformance/log-store.ts'
import { MemoryLogStore } from '../../helpers/memory-logs.ts'

logStoreSuite(test, 'MemoryLogStore', () => Promise.resolve(new MemoryLogStore()), {
  verifies: false
})
