import type { PublishResult } from '@zyqueue/core/broker'
import { PORTION, type PacketConnection } from '../connection/packet-connection.ts'
import { GearmanError } from '../errors.ts'
import { portionsOf } from '../connection/semaphore.ts'
import { PACKET, PacketWriter } from '../connection/protocol.ts'
import type { Wire } from '../message.ts'

/** A job on its way to a function. */
export interface Submission extends Wire {
  /** Which of the SUBMIT_JOB packets. */
  readonly packet: number
  readonly functionName: string
}

const STORED: PublishResult = { status: 'stored' }

/**
 * Submits jobs, pipelined; one result for each, in their order. Rejects where the connection had ended before: nothing was
 * sent then.
 */
export async function submit(
  connection: PacketConnection,
  submissions: readonly Submission[],
): Promise<readonly PublishResult[]> {
  connection.assertOpen()
  const portions = portionsOf(submissions, PORTION).map((portion) =>
    connection.gate.pass(() => submitPortion(connection, portion)),
  )
  return portions.length === 1 ? ((await portions[0]) ?? []) : (await Promise.all(portions)).flat()
}

/** Never rejects. */
function submitPortion(
  connection: PacketConnection,
  portion: readonly Submission[],
): Promise<readonly PublishResult[]> {
  const packets = new PacketWriter()
  for (const { packet, functionName, unique, workload } of portion) {
    packets.packet(packet, `${functionName}\0${unique}\0`, workload)
  }
  return new Promise((resolve) => {
    const results: PublishResult[] = []
    // Those of a later portion were not sent where the connection has ended meanwhile.
    const status = connection.ended ? 'refused' : 'unknown'
    connection.ask(
      packets,
      [PACKET.JOB_CREATED],
      portion.length,
      (answer) => {
        results.push(answer instanceof GearmanError ? { status: 'refused', error: answer } : STORED)
        if (results.length === portion.length) resolve(results)
      },
      (error) => {
        while (results.length < portion.length) results.push({ status, error })
        resolve(results)
      },
    )
  })
}
