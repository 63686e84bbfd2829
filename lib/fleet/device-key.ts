/**
 * The device's own key, `<home>/keys/device.key`, mode 0600: made once, never changed. It signs, it opens boxes,
 * and it is the Noise key of the device's connections.
 */
import { open } from 'node:fs/promises'
import path from 'node:path'
import { HyperparcelError } from '../base/errors.ts'
import { writeFileDurable } from '../base/files.ts'
import { DEVICE_KEY_FILE } from '../format/key-file.ts'
import type { Label } from './derive.ts'
import { derive, randomBytes, wipe } from './derive.ts'
import type { KeyPair } from './sign.ts'
import { SEED_BYTES, keyPair } from './sign.ts'

export function deviceKeyFile(keysDirectory: string): string {
  return path.join(keysDirectory, 'device.key')
}

/** The device's key; made where there is none. Rejects as `loadDeviceKey`. */
export async function ensureDeviceKey(keysDirectory: string): Promise<KeyPair> {
  const known = await loadDeviceKey(keysDirectory)
  if (known !== null) return known
  const seed = randomBytes(SEED_BYTES)
  const file = DEVICE_KEY_FILE.encode({ protection: 'none', parameters: Buffer.alloc(0), seed })
  await writeFileDurable(deviceKeyFile(keysDirectory), file, 0o600)
  const keys = keyPair(seed)
  wipe(seed, file)
  return keys
}

/**
 * Null where there is none. Rejects with `KEY_PERMISSIONS` where others may read it, `KEY_LOCKED` where an
 * unlock secret is needed, `FORMAT_INVALID`, `FORMAT_TOO_NEW`.
 */
export async function loadDeviceKey(keysDirectory: string): Promise<KeyPair | null> {
  const file = deviceKeyFile(keysDirectory)
  const data = await readPrivate(file)
  if (data === null) return null
  const { protection, seed } = DEVICE_KEY_FILE.decode(data)
  if (protection !== 'none') {
    throw new HyperparcelError('KEY_LOCKED', `The device key ${file} needs its unlock secret`)
  }
  if (seed.byteLength !== SEED_BYTES) {
    throw new HyperparcelError('FORMAT_INVALID', `The device key ${file} is damaged`)
  }
  const keys = keyPair(seed)
  wipe(data)
  return keys
}

/** A key for something that only this device reads, on its own disk. */
export function localKey(keys: KeyPair, label: Label): Buffer {
  return derive(keys.secretKey.subarray(0, SEED_BYTES), label)
}

/** The content of a file that nobody else may read or change, null where there is none. `KEY_PERMISSIONS`. */
export async function readPrivate(file: string): Promise<Buffer | null> {
  const handle = await open(file, 'r').catch((err: NodeJS.ErrnoException) => {
    if (err.code === 'ENOENT') return null
    throw new HyperparcelError('KEY_PERMISSIONS', `${file} cannot be read: ${err.message}`, {
      cause: err
    })
  })
  if (handle === null) return null
  try {
    const { mode, size } = await handle.stat()
    if ((mode & 0o077) !== 0) {
      const shown = (mode & 0o777).toString(8)
      throw new HyperparcelError(
        'KEY_PERMISSIONS',
        `${file} has mode ${shown}: others may use it`,
        {
          hint: `If nobody else has seen it: chmod 600 ${file}`
        }
      )
    }
    if (size > FILE_BYTES_MAX) {
      throw new HyperparcelError('FORMAT_INVALID', `${file} has ${size} bytes`)
    }
    return await handle.readFile()
  } finally {
    await handle.close()
  }
}

const FILE_BYTES_MAX = 4 * 1024 * 1024
