/**
 * How jobs leave a worker. A server forgets a job that is completed or failed, and has no word for "again" or "dead": such a
 * job is submitted anew first, and forgotten when the server has it. None of these rejects.
 */
import { BrokerError, type Delivery, type Rejection, type Release, type SettleResult } from '@zyqueue/core/broker'
import { PORTION } from '../connection/packet-connection.ts'
import { slotOf } from '../functions.ts'
import { portionsOf } from '../connection/semaphore.ts'
import type { HeldJob } from './held-job.ts'
import type { WorkerConnection } from './worker-connection.ts'
import { PACKET, PacketWriter } from '../connection/protocol.ts'
import { deadLetter, delayedAgain, readyAgain, type Routed } from '../routes.ts'

export interface Entry<Item> {
  readonly item: Item
  readonly job: HeldJob
}

export interface Settled {
  readonly result: SettleResult
  /** Whether the server still has it down as this connection's. */
  readonly isHeld: boolean
  /** The slot that it was delayed to. */
  readonly atMs?: number | undefined
}

/** A delivery that has ended well, with what its handler returned, for whoever waits for it. */
export interface Acknowledgement {
  readonly delivery: Delivery
  readonly body?: Uint8Array | undefined
}

const OK: SettleResult = { status: 'ok' }
const LEASE_LOST: SettleResult = { status: 'lease-lost' }

export async function acknowledge(
  link: WorkerConnection,
  entries: readonly Entry<Acknowledgement>[],
): Promise<readonly Settled[]> {
  return finish(
    link,
    entries.map(({ item, job }) => ({ handle: job.handle, isDone: true, body: item.body })),
  )
}

/** A job that a client waits for is not stored anew: the client is told of the failure, and decides. */
export async function release(link: WorkerConnection, entries: readonly Entry<Release>[]): Promise<readonly Settled[]> {
  const nowMs = Date.now()
  return restore(link, entries, {
    again: ({ item: { delayMs, headers }, job }) => {
      const stored = job.stored(headers === undefined ? {} : { headers })
      if (delayMs <= 0) return readyAgain(stored, job.queue)
      const dueMs = Math.ceil(nowMs + delayMs)
      return delayedAgain({ ...stored, dueMs }, job.queue, slotOf(dueMs, nowMs))
    },
    // One that was not started stays: it goes to another worker when this connection ends.
    ends: ({ delayMs, headers }) => delayMs > 0 || headers !== undefined,
    reasonOf: () => undefined,
  })
}

export async function reject(
  link: WorkerConnection,
  entries: readonly Entry<Rejection>[],
): Promise<readonly Settled[]> {
  const atMs = performance.timeOrigin + performance.now()
  return restore(link, entries, {
    again: ({ item: { reason, headers }, job }, index) => {
      // In the order of the call, although it is one moment.
      const death = { reason, atMs: atMs + index / 1_000 }
      return deadLetter(job.stored({ death, ...(headers === undefined ? {} : { headers }) }), job.queue)
    },
    ends: () => true,
    reasonOf: ({ reason }) => reason,
  })
}

interface Ending {
  readonly handle: string
  readonly isDone: boolean
  readonly body?: Uint8Array | undefined
}

interface Ways<Item> {
  readonly again: (entry: Entry<Item>, index: number) => Routed
  /** Whether this ends a job that a client waits for. */
  readonly ends: (item: Item) => boolean
  /** Why the job has failed, for a client that waits. */
  readonly reasonOf: (item: Item) => string | undefined
}

async function restore<Item>(
  link: WorkerConnection,
  entries: readonly Entry<Item>[],
  { again, ends, reasonOf }: Ways<Item>,
): Promise<readonly Settled[]> {
  try {
    const settled = new Map<Entry<Item>, Settled>()
    const packets = new PacketWriter()
    for (const entry of entries) {
      const { item, job } = entry
      if (!job.foreground) continue
      const isEnd = ends(item)
      if (isEnd) {
        writeReason(packets, job, reasonOf(item))
        packets.packet(PACKET.WORK_FAIL, job.handle)
      }
      settled.set(entry, { result: OK, isHeld: !isEnd })
    }
    if (settled.size > 0) await link.settle(packets)
    const rest = entries.filter((entry) => !settled.has(entry))
    const routes = rest.map(again)
    const stored = await link.submit(routes)
    const gone: { readonly entry: Entry<Item>; readonly atMs: number | undefined }[] = []
    // Of a foreign job without a unique the server does not say whether a client waits.
    const reasons = new PacketWriter()
    for (const [index, entry] of rest.entries()) {
      const result = stored[index]
      if (result?.status === 'stored') {
        gone.push({ entry, atMs: routes[index]?.atMs })
        writeReason(reasons, entry.job, reasonOf(entry.item))
      } else {
        const error = result?.error
        settled.set(entry, { result: { status: 'unknown', error }, isHeld: !link.ended })
      }
    }
    // Apart from the failures behind them: the server refuses both if it does not have the job any more.
    const warns = gone.some(({ entry: { item, job } }) => job.isForeign && reasonOf(item) !== undefined)
    if (warns) await link.settle(reasons)
    const finished = await finish(
      link,
      gone.map(({ entry }) => ({ handle: entry.job.handle, isDone: false })),
    )
    for (const [index, { entry, atMs }] of gone.entries()) {
      settled.set(entry, { ...(finished[index] ?? unknown(undefined)), atMs })
    }
    return entries.map((entry) => settled.get(entry) ?? unknown(undefined))
  } catch (error) {
    return entries.map(() => unknown(error))
  }
}

/**
 * Tells a client that waits, or may wait unknown to us, why its job has failed. Our own calls ask for exceptions. Other clients
 * do not: gearmand turns an exception into a WORK_FAIL that libgearman does not understand, and forgets the job. They get the
 * reason as a warning. A WORK_FAIL must follow in both cases: some servers do not take an exception for the end.
 */
function writeReason(packets: PacketWriter, job: HeldJob, reason: string | undefined): void {
  if (reason === undefined) return
  if (job.isForeign) packets.packet(PACKET.WORK_WARNING, `${job.handle}\0${reason}`)
  else if (job.foreground) packets.packet(PACKET.WORK_EXCEPTION, `${job.handle}\0${reason}`)
}

/**
 * Settlements have no answer but the ECHO behind them and, before it, a refusal of each job that this connection did not have
 * any more: one that an operator has cancelled. Refusals do not say which job they mean.
 */
async function finish(link: WorkerConnection, endings: readonly Ending[]): Promise<readonly Settled[]> {
  const portions = await Promise.all(
    portionsOf(endings, PORTION).map((portion) => link.pass(() => finishPortion(link, portion))),
  )
  return portions.flat()
}

async function finishPortion(link: WorkerConnection, endings: readonly Ending[]): Promise<readonly Settled[]> {
  const count = endings.length
  const packets = new PacketWriter()
  for (const { handle, isDone, body } of endings) {
    if (isDone) packets.packet(PACKET.WORK_COMPLETE, `${handle}\0`, body)
    else packets.packet(PACKET.WORK_FAIL, handle)
  }
  const all = (settled: Settled): readonly Settled[] => Array.from({ length: count }, () => settled)
  try {
    const stale = await link.settle(packets)
    if (stale === 0) return all({ result: OK, isHeld: false })
    if (stale >= count) return all({ result: LEASE_LOST, isHeld: false })
    return all(
      unknown(new BrokerError('ZYQ_LEASE_LOST', `The server did not have ${stale} of ${count} settled jobs any more`)),
    )
  } catch (error) {
    return all(unknown(error))
  }
}

function unknown(error: unknown): Settled {
  return { result: { status: 'unknown', error }, isHeld: false }
}
