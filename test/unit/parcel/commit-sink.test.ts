import test from 'brittle'
import { commitSinkSuite } from '../../conformance/commit-sink.ts'
import { MemorySink } from '../../helpers/memory-sink.ts'
import { createSinkStore } from '../../helpers/sink-store.ts'

commitSinkSuite(test, 'MemorySink', () => {
  const store = new MemorySink()
  return Promise.resolve({
    begin: () => Promise.resolve(store.begin()),
    publish: (_sink, record) => Promise.resolve(store.publish(record)),
    retire: () => Promise.resolve(store.retire()),
    reader: (logs) => store.reader(logs)
  })
})

commitSinkSuite(test, 'RemoteSink and BlockSource', (t) => createSinkStore(t))
