/** What users may call a device or a parcel. `@` stays free: it marks names that were given twice. */
import { HyperparcelError } from '../base/errors.ts'
import { NAME_BYTES_MAX } from '../format/registry.ts'

/** Throws `NAME_INVALID`. */
export function checkName(name: string, what: 'device' | 'parcel'): string {
  const reason = fault(name)
  if (reason === null) return name
  throw new HyperparcelError(
    'NAME_INVALID',
    `A ${what} cannot be called ${JSON.stringify(name)}: ${reason}`,
    {
      hint: 'Use letters, digits, dots, dashes and underscores.'
    }
  )
}

function fault(name: string): string | null {
  if (name === '') return 'the name is empty'
  if (Buffer.byteLength(name) > NAME_BYTES_MAX)
    return `the name has more than ${NAME_BYTES_MAX} bytes`
  if (name.startsWith('-') || name.startsWith('.')) return `it starts with ${name[0]}`
  if (/[@/\\:\s\p{C}]/u.test(name)) return 'it holds a space, @, /, \\, : or a control character'
  return null
}

/** `wanted`, or with a number behind it where that is taken. */
export function freeName(wanted: string, taken: (name: string) => boolean): string {
  if (!taken(wanted)) return wanted
  for (let n = 2; ; n++) {
    const suffix = `-${n}`
    let stem = wanted
    while (Buffer.byteLength(stem + suffix) > NAME_BYTES_MAX)
      stem = Array.from(stem).slice(0, -1).join('')
    if (!taken(stem + suffix)) return stem + suffix
  }
}
