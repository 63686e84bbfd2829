/** Messages of the channel `hyperparcel/call`, version 1: requests between devices of a fleet, JSON and raw bytes. */
import { blob, bool, struct, text } from './fields.ts'
import { uint, type ById } from './fetch.ts'

export const CALL_PROTOCOL = 'hyperparcel/call'
export const CALL_VERSION = 1
/** JSON and attachment of one call or answer, each. */
export const CALL_BYTES_MAX = 1024 * 1024
const METHOD_BYTES_MAX = 64

export interface CallRequest {
  id: number
  method: string
  /** JSON. */
  json: string
  attachment: Buffer
}

export interface CallAnswer {
  id: number
  /** Otherwise `json` is an error's shape. */
  ok: boolean
  json: string
  attachment: Buffer
}

const json = text(CALL_BYTES_MAX)
const attachment = blob(CALL_BYTES_MAX)

/** In the order of their numbers on the wire. */
export const CALL_MESSAGES = {
  request: struct<CallRequest>({ id: uint, method: text(METHOD_BYTES_MAX), json, attachment }),
  answer: struct<CallAnswer>({ id: uint, ok: bool, json, attachment }),
  cancel: struct<ById>({ id: uint })
} as const
