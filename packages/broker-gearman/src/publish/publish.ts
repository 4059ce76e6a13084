import type { PublishResult } from '@zyqueue/core/broker'
import type { PacketConnection } from '../connection/packet-connection.ts'
import { PACKET, PacketWriter } from '../connection/protocol.ts'
import { GearmanError } from '../errors.ts'
import type { Submission } from '../message.ts'

const STORED: PublishResult = { status: 'stored' }

/**
 * Submits jobs, pipelined. One result for each, in their order. Rejects if the connection had ended before: nothing was sent
 * then.
 */
export async function submit(
  connection: PacketConnection,
  submissions: readonly Submission[],
): Promise<readonly PublishResult[]> {
  connection.assertOpen()
  return connection.sendInPortions(submissions, (portion) => submitPortion(connection, portion))
}

export function writeSubmission(packets: PacketWriter, { packet, functionName, unique, workload }: Submission): void {
  packets.packet(packet, `${functionName}\0${unique}\0`, workload)
}

/** Never rejects. */
function submitPortion(
  connection: PacketConnection,
  portion: readonly Submission[],
): Promise<readonly PublishResult[]> {
  const packets = new PacketWriter()
  for (const submission of portion) writeSubmission(packets, submission)
  return new Promise((resolve) => {
    const results: PublishResult[] = []
    // If the connection has ended meanwhile, a later portion is not sent.
    const status = connection.isOpen ? 'unknown' : 'refused'
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
