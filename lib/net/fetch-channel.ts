/** The channel of the fetch protocol. */
import type { FETCH_MESSAGES } from '../format/fetch.ts'
import type { MessageChannel } from './channel.ts'

export type FetchChannel = MessageChannel<typeof FETCH_MESSAGES>
