/**
 * How jobs leave a worker. A server forgets a job that is completed or failed, and has no word for "again" or "dead": such a
 * job is submitted anew first, and forgotten when the server has it. None of these rejects.
 */
import { BrokerError, type Delivery, type Rejection, type Release, type SettleResult } from '@zyqueue/core/broker'
import { PORTION } from './connection.ts'
import { slotOf } from './functions.ts'
import { portionsOf } from './gate.ts'
import type { HeldJob } from './held-job.ts'
import type { Link } from './link.ts'
import { PACKET, PacketWriter } from './protocol.ts'
import { deadLetter, delayedAgain, readyAgain, type Routed } from './routes.ts'

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

export async function acknowledge(link: Link, entries: readonly Entry<Acknowledgement>[]): Promise<readonly Settled[]> {
  return finish(
    link,
    entries.map(({ item, job }) => ({ handle: job.handle, isDone: true, body: item.body })),
  )
}

/** What somebody waits for is not stored anew: whoever waits hears of the failure, and decides. */
export async function release(link: Link, entries: readonly Entry<Release>[]): Promise<readonly Settled[]> {
  const nowMs = Date.now()
  return restore(link, entries, {
    again: ({ item: { delayMs, headers }, job }) => {
      const stored = job.stored(headers === undefined ? {} : { headers })
      if (delayMs <= 0) return readyAgain(stored, job.queue)
      const dueMs = Math.ceil(nowMs + delayMs)
      return delayedAgain({ ...stored, dueMs }, job.queue, slotOf(dueMs, nowMs))
    },
    tell: ({ item, job }) => {
      // It was not started: it goes to another worker when this connection ends.
      if (item.delayMs <= 0 && item.headers === undefined) return undefined
      return new PacketWriter().packet(PACKET.WORK_FAIL, job.handle)
    },
  })
}

export async function reject(link: Link, entries: readonly Entry<Rejection>[]): Promise<readonly Settled[]> {
  const atMs = performance.timeOrigin + performance.now()
  return restore(link, entries, {
    again: ({ item: { reason, headers }, job }, index) => {
      // In the order of the call, although it is one moment.
      const death = { reason, atMs: atMs + index / 1_000 }
      return deadLetter(job.stored({ death, ...(headers === undefined ? {} : { headers }) }), job.queue)
    },
    // Some servers take the exception for the end, and some only the failure behind it.
    tell: ({ item, job }) =>
      new PacketWriter()
        .packet(PACKET.WORK_EXCEPTION, `${job.handle}\0${item.reason}`)
        .packet(PACKET.WORK_FAIL, job.handle),
  })
}

interface Ending {
  readonly handle: string
  readonly isDone: boolean
  readonly body?: Uint8Array | undefined
}

interface Ways<Item> {
  readonly again: (entry: Entry<Item>, index: number) => Routed
  /** What ends a job that somebody waits for; nothing where it stays. */
  readonly tell: (entry: Entry<Item>) => PacketWriter | undefined
}

async function restore<Item>(
  link: Link,
  entries: readonly Entry<Item>[],
  { again, tell }: Ways<Item>,
): Promise<readonly Settled[]> {
  try {
    const awaited = await whichAreAwaited(link, entries)
    const told = new Map<Entry<Item>, Settled>()
    for (const entry of entries) {
      const isAwaited = awaited.get(entry)
      if (isAwaited === 'no') continue
      const packets = tell(entry)
      if (packets === undefined) told.set(entry, { result: OK, isHeld: true })
      else if (isAwaited === 'yes') {
        await link.settle(packets)
        told.set(entry, { result: OK, isHeld: false })
      }
    }
    const rest = entries.filter((entry) => !told.has(entry))
    const routes = rest.map(again)
    const stored = await link.submit(routes)
    const gone: { readonly entry: Entry<Item>; readonly atMs: number | undefined }[] = []
    for (const [index, entry] of rest.entries()) {
      const result = stored[index]
      if (result?.status === 'stored') {
        gone.push({ entry, atMs: routes[index]?.atMs })
      } else {
        const error = result?.error
        told.set(entry, { result: { status: 'unknown', error }, isHeld: !link.ended })
      }
    }
    const finished = await finish(
      link,
      // A failure to whoever may wait for it unknown to us: it has not ended well.
      gone.map(({ entry }) => ({ handle: entry.job.handle, isDone: false })),
    )
    for (const [index, { entry, atMs }] of gone.entries()) {
      told.set(entry, { ...(finished[index] ?? unknown(undefined)), atMs })
    }
    return entries.map((entry) => told.get(entry) ?? unknown(undefined))
  } catch (error) {
    return entries.map(() => unknown(error))
  }
}

type Awaited = 'yes' | 'no' | 'perhaps'

/** Our own calls say it. Of strangers' jobs the server knows; but it can be asked only for one with a unique. */
async function whichAreAwaited<Item>(
  link: Link,
  entries: readonly Entry<Item>[],
): Promise<ReadonlyMap<Entry<Item>, Awaited>> {
  const strangers = entries.filter(({ job }) => job.isPlain && !job.foreground && job.unique !== '')
  const answers = await link.areAwaited(strangers.map(({ job }) => job.unique))
  const known = new Map(strangers.map((entry, index) => [entry, answers[index] === true]))
  return new Map(
    entries.map((entry) => {
      const { job } = entry
      if (job.foreground || known.get(entry) === true) return [entry, 'yes']
      return [entry, job.isPlain && job.unique === '' ? 'perhaps' : 'no']
    }),
  )
}

/**
 * Settlements have no answer but the ECHO behind them and, before it, a refusal of each job that this connection did not have
 * any more: one that an operator has cancelled. Refusals do not say which job they mean.
 */
async function finish(link: Link, endings: readonly Ending[]): Promise<readonly Settled[]> {
  const portions = await Promise.all(
    portionsOf(endings, PORTION).map((portion) => link.pass(() => finishPortion(link, portion))),
  )
  return portions.flat()
}

async function finishPortion(link: Link, endings: readonly Ending[]): Promise<readonly Settled[]> {
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
