/** The lease chain: who may write a parcel. */
export { LeaseChain } from './chain.ts'
export type { AddResult, LeaseFork, LeaseNode } from './chain.ts'
export {
  createLease,
  grantLease,
  leaseRefusal,
  mayResume,
  mayWrite,
  releaseLease
} from './decide.ts'
export type { LeaseTerms, LeaseWay, ResumeDecision } from './decide.ts'
export { leaseHash, signLease, isSignedBy, sortedKeys } from './entry.ts'
export { LeaseKeeper } from './keeper.ts'
export type { LeaseLog } from './keeper.ts'
export { decodeLeaseEntry, encodeLeaseEntry } from '../format/lease.ts'
export type { LeaseBody, LeaseEntry, LeaseReason } from '../format/lease.ts'
