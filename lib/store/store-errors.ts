/** Errors of Corestore, Hypercore and RocksDB as ours. They tell most things by text only. */
import { HyperparcelError } from '../base/errors.ts'

/** Opening failed: which of the known reasons? */
export function openError(err: unknown, directory: string): HyperparcelError {
  const { code, message } = err as { code?: string; message: string }
  if (code === 'DEVICE_FILE' || message.includes('Invalid device file')) {
    return new HyperparcelError('STORE_COPIED', `The store in ${directory} is a copy of another`, {
      hint:
        'Two copies would sign contradicting histories. Use the original, or make a new home with ' +
        '`hyperparcel join` and let it fetch from the others.',
      cause: err
    })
  }
  if (message.includes('could not be locked') || message.includes('lock file')) {
    return new HyperparcelError(
      'STORE_IN_USE',
      `Another process has the store in ${directory} open`,
      {
        hint: 'Only one daemon may run for a home: stop the other one first.',
        cause: err
      }
    )
  }
  const error = storeError(err)
  if (error.code !== 'DATA_CORRUPT') return error
  return new HyperparcelError('DATA_CORRUPT', `The store in ${directory} is damaged`, {
    hint: 'Move that directory away: what other devices hold is fetched again.',
    cause: err
  })
}

/** Reading or writing failed. */
export function storeError(err: unknown): HyperparcelError {
  if (err instanceof HyperparcelError) return err
  const message = err instanceof Error ? err.message : String(err)
  if (message.includes('Batch was not applied')) {
    return new HyperparcelError('STORE_FAILED', 'The store could not be written', {
      hint: 'The disk may be full or broken. Make some room, then try again: the daemon starts anew.',
      cause: err
    })
  }
  if (message.includes('No space left')) {
    return new HyperparcelError('DISK_FULL', 'There is no space left on the disk', {
      hint: 'Free some space and try again: nothing was lost.',
      cause: err
    })
  }
  if (/corrupt|mismatch/i.test(message) || isLost(err)) {
    return new HyperparcelError('DATA_CORRUPT', 'The store gave back data that does not verify', {
      hint: 'Run `hyperparcel verify --repair`: it fetches good copies from other devices.',
      cause: err
    })
  }
  return HyperparcelError.from(err)
}

/** After these RocksDB takes no write until it is opened anew. */
export function isWriteError(err: unknown): boolean {
  const { message } = err as { message?: string }
  return /^IO error|^While (append|fsync|fdatasync|sync)|No space left|Batch was not applied/i.test(
    message ?? ''
  )
}

/** A file of the database, or its end, is not there any more: RocksDB's words differ, its codes do not. */
function isLost(err: unknown): boolean {
  const { code } = err as { code?: string }
  return (code === 'EIO' || code === 'ENOENT') && !isWriteError(err)
}

/**
 * The disk failed, or the store is closing. Everything else that Hypercore throws over a proof is the sender's
 * fault: malformed bytes surface as errors of any class there.
 */
export function isStorageError(err: unknown): boolean {
  const { code, message } = err as { code?: string; message?: string }
  return (
    code === 'SESSION_CLOSED' ||
    code === 'EIO' ||
    code === 'ENOENT' ||
    /^(IO error|Corruption|Incomplete|Aborted|Busy|Shutdown|Timed out|Closed|Batch was not applied)|CRC mismatch|session is closed/.test(
      message ?? ''
    )
  )
}
