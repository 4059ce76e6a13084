/**
 * How jobs leave a worker. A server deletes a job that is completed or failed, and has no packet for a retry or a dead letter: a
 * copy of the job is submitted first, and the job is deleted when the server has stored the copy. No function here rejects.
 */
import { BrokerError, type SettleResult } from '@zyqueue/core/broker'
import { PACKET, PacketWriter } from '../connection/protocol.ts'
import type { Submission } from '../message.ts'
import { submit } from '../publish/publish.ts'
import type { HeldJob } from './held-job.ts'
import type { WorkerConnection } from './worker-connection.ts'

/** A job that has succeeded. */
export interface Completion {
  readonly held: HeldJob
  /** The result of the handler, for a client that waits. */
  readonly body?: Uint8Array
}

/** A job that is stored elsewhere, or whose failure is reported to the client that waits for it. */
export interface Failure {
  readonly held: HeldJob
  /** What replaces the job. Absent: a client waits for it and decides what happens. */
  readonly copy: Submission | undefined
  /** Whether a job without a copy has failed. Otherwise it stays, and another worker gets it when this connection ends. */
  readonly isFinal: boolean
  /** For a client that waits. */
  readonly reason?: string
}

export interface Settled {
  readonly result: SettleResult
  /** Whether the server still counts the job as this worker's. */
  readonly isHeld: boolean
}

const OK: SettleResult = { status: 'ok' }
const LEASE_LOST: SettleResult = { status: 'lease-lost' }

/** The jobs have succeeded. */
export function complete(worker: WorkerConnection, completions: readonly Completion[]): Promise<readonly Settled[]> {
  return finish(worker, completions, PACKET.WORK_COMPLETE)
}

/** Stores the copies, and then deletes the jobs. */
export async function replace(worker: WorkerConnection, failures: readonly Failure[]): Promise<readonly Settled[]> {
  try {
    const settled = new Map<Failure, Settled>()
    const calls = new PacketWriter()
    for (const failure of failures) {
      const { held, copy, isFinal, reason } = failure
      if (copy !== undefined) continue
      settled.set(failure, { result: OK, isHeld: !isFinal })
      if (!isFinal) continue
      writeReason(calls, held, reason)
      calls.packet(PACKET.WORK_FAIL, held.handle)
    }
    if (settled.size > 0) await worker.connection.barrier(calls)
    const copied = failures.flatMap((failure) => (failure.copy === undefined ? [] : [{ failure, copy: failure.copy }]))
    const results = await submit(
      worker.connection,
      copied.map(({ copy }) => copy),
    )
    const stored: Failure[] = []
    for (const [index, { failure }] of copied.entries()) {
      const result = results[index]
      if (result?.status === 'stored') stored.push(failure)
      else settled.set(failure, { ...unknown(result?.error), isHeld: worker.connection.isOpen })
    }
    // The server does not say whether a client waits for a foreign job without a unique. The reasons go before the failures,
    // behind a barrier of their own: if the worker does not hold the job any more, the server refuses both.
    const reasons = new PacketWriter()
    for (const { held, reason } of stored) writeReason(reasons, held, reason)
    if (stored.some(({ held, reason }) => held.isForeign && reason !== undefined))
      await worker.connection.barrier(reasons)
    const finished = await finish(worker, stored, PACKET.WORK_FAIL)
    for (const [index, failure] of stored.entries()) settled.set(failure, finished[index] ?? unknown(undefined))
    return failures.map((failure) => settled.get(failure) ?? unknown(undefined))
  } catch (error) {
    return failures.map(() => unknown(error))
  }
}

/**
 * Sends the reason of a failure to a client that waits, or may wait. Our own calls ask for exceptions. Other clients do not:
 * gearmand turns an exception into a WORK_FAIL that libgearman does not understand, and deletes the job. They get the reason as a
 * warning. A WORK_FAIL must follow in both cases, because some servers do not take an exception for the end.
 */
function writeReason(
  packets: PacketWriter,
  { handle, isForeign, delivery }: HeldJob,
  reason: string | undefined,
): void {
  if (reason === undefined) return
  if (isForeign) packets.packet(PACKET.WORK_WARNING, `${handle}\0${reason}`)
  else if (delivery.foreground === true) packets.packet(PACKET.WORK_EXCEPTION, `${handle}\0${reason}`)
}

/**
 * Settlements have no answers. The server answers the ECHO behind them and, before it, refuses each job that this worker did
 * not hold any more, such as one that an operator cancelled. A refusal does not say which job it means.
 */
function finish(
  worker: WorkerConnection,
  endings: readonly Completion[],
  type: typeof PACKET.WORK_COMPLETE | typeof PACKET.WORK_FAIL,
): Promise<readonly Settled[]> {
  return worker.connection.sendInPortions(endings, async (portion) => {
    const packets = new PacketWriter()
    for (const { held, body } of portion) {
      if (type === PACKET.WORK_FAIL) packets.packet(type, held.handle)
      else packets.packet(type, `${held.handle}\0`, body)
    }
    const settled = await settlePortion(worker, packets, portion.length)
    return portion.map(() => settled)
  })
}

async function settlePortion(worker: WorkerConnection, packets: PacketWriter, count: number): Promise<Settled> {
  try {
    const stale = await worker.connection.barrier(packets)
    if (stale === 0) return { result: OK, isHeld: false }
    if (stale >= count) return { result: LEASE_LOST, isHeld: false }
    return unknown(new BrokerError('ZYQ_LEASE_LOST', `The server no longer had ${stale} of ${count} settled jobs`))
  } catch (error) {
    return unknown(error)
  }
}

function unknown(error: unknown): Settled {
  return { result: { status: 'unknown', error }, isHeld: false }
}
