/** hoard: all of a version to this device, so that the network is no longer needed; also of those to come. */
import { HyperparcelError } from '../../base/errors.ts'
import type { ParcelInfo, VersionInfo } from '../../fleet/index.ts'
import type { Params, Result } from '../api.ts'
import { completeVersion, openVersion } from '../versions/complete-version.ts'
import { headVersion, versionByNumber } from '../versions/heads.ts'
import type { FleetNode } from '../node.ts'
import type { UseCaseContext } from './context.ts'
import { bytesHere } from '../versions/bytes-here.ts'

export async function hoard(
  node: FleetNode,
  params: Params<'hoard'>,
  context: UseCaseContext
): Promise<Result<'hoard'>> {
  const parcel = node.parcel(params.name)
  const self = node.identity.device.publicKey
  if (params.unfollow === true) return unfollow(node, parcel)
  const info = wanted(node, parcel, params.version)
  if (params.follow === true) await node.orders.renew(parcel.id, 'follow', self)
  const following = isFollowed(node, parcel)
  const before = await bytesHere(node, info)
  const missing = info.bytesTotal - before.bytes
  if (!before.whole) await fetchAll(node, parcel, info, following, context)
  return {
    parcel: parcel.name,
    version: info.number,
    bytes_fetched: before.whole ? 0 : missing,
    bytes_missing: 0,
    following
  }
}

async function fetchAll(
  node: FleetNode,
  parcel: ParcelInfo,
  info: VersionInfo,
  following: boolean,
  context: UseCaseContext
): Promise<void> {
  try {
    if (node.network.limits.metered) throw metered(parcel, info)
    await openVersion(node, info, context)
    await completeVersion(node, info, {}, { ...context, why: 'hoard' })
    await node.store.flush() // it must last, and others count it from then on
    node.orderCalls.tellHeld(info)
  } catch (thrown) {
    const err = HyperparcelError.from(thrown)
    if (err.code !== 'DATA_UNREACHABLE') throw err
    const here = await bytesHere(node, info)
    const later = following
      ? `It is followed: the rest comes by itself when a device that has it is online.`
      : `With --follow the rest comes by itself later.`
    throw new HyperparcelError(err.code, err.message, {
      hint: err.hint === undefined ? later : `${err.hint} ${later}`,
      context: {
        ...err.context,
        parcel: parcel.name,
        bytes_missing: info.bytesTotal - here.bytes,
        following
      },
      cause: err
    })
  }
}

function metered(parcel: ParcelInfo, info: VersionInfo): HyperparcelError {
  return new HyperparcelError(
    'DATA_UNREACHABLE',
    `Version ${info.number} of ${parcel.name} is not all here, and this link is metered: only what a VM waits for is fetched`,
    { hint: 'Allow it with `hyperparcel config metered false`.' }
  )
}

async function unfollow(node: FleetNode, parcel: ParcelInfo): Promise<Result<'hoard'>> {
  await endFollowing(node, parcel)
  const info = headVersion(node, parcel.id)
  const here = info === null ? null : await bytesHere(node, info)
  return {
    parcel: parcel.name,
    version: info?.number ?? 0,
    bytes_fetched: 0,
    bytes_missing: info === null ? 0 : info.bytesTotal - here!.bytes,
    following: false
  }
}

/** Nothing of that parcel is fetched unasked any more, whoever wanted it. */
export async function endFollowing(node: FleetNode, { id }: ParcelInfo): Promise<void> {
  const self = node.identity.device.publicKey
  for (const order of node.orders.active('follow', id)) {
    if (order.device.equals(self)) await node.orders.drop(order)
    else await node.orders.end(id, 'follow', order.device) // it may be repeated
  }
}

function isFollowed(node: FleetNode, { id }: ParcelInfo): boolean {
  return node.orders.active('follow', id).length > 0
}

function wanted(node: FleetNode, parcel: ParcelInfo, number: number | undefined): VersionInfo {
  if (number !== undefined) return versionByNumber(node, parcel, number)
  const head = headVersion(node, parcel.id)
  if (head !== null) return head
  throw new HyperparcelError('VERSION_NOT_FOUND', `${parcel.name} has no version here yet`, {
    hint: 'News of it may still be on their way: try again when another device is online.'
  })
}
