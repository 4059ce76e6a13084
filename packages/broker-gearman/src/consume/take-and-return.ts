import { PacketConnection } from '../connection/packet-connection.ts'
import { PACKET, PacketWriter, readAssignment, type Assignment } from '../connection/protocol.ts'
import { GearmanError } from '../errors.ts'
import { queueOf } from '../functions.ts'
import type { GearmanServer } from '../gearman-server.ts'
import { decodeJob, type ReceivedJob, type Submission } from '../message.ts'
import { submit } from '../publish/publish.ts'

/** How many jobs are taken at once. */
const WINDOW = 256

/** What happens to a job that was taken. `keep`: it returns when all were taken. A submission is stored before the job is deleted. */
export type Decision = 'keep' | 'delete' | Submission

/**
 * Takes the jobs that wait in functions, as a worker does: gearmand has no other way to see them. The server takes back what
 * is kept, also if this process dies. Resolves to how many were deleted or moved. Takes at most `limit`, so that it ends although
 * others submit.
 */
export async function takeAndReturn(
  server: Pick<GearmanServer, 'address' | 'signal'>,
  functions: readonly string[],
  limit: number,
  decide: (job: ReceivedJob, queue: string) => Decision,
): Promise<number> {
  if (functions.length === 0 || limit === 0) return 0
  const connection = await PacketConnection.open(server.address, server.signal)
  try {
    const abilities = new PacketWriter()
    for (const name of functions) abilities.packet(PACKET.CAN_DO, name)
    connection.write(abilities)
    let gone = 0
    for (let seen = 0, isEmpty = false; seen < limit && !isEmpty;) {
      const count = Math.min(WINDOW, limit - seen)
      const jobs = await grab(connection, count)
      seen += jobs.length
      isEmpty = jobs.length < count
      gone += await carryOut(connection, jobs, decide)
    }
    // The server has taken the jobs back when it answers. After the mere end of a connection that takes a moment.
    await connection.barrier(new PacketWriter().packet(PACKET.RESET_ABILITIES))
    return gone
  } finally {
    connection.close()
  }
}

async function grab(connection: PacketConnection, count: number): Promise<readonly Assignment[]> {
  const packets = new PacketWriter()
  for (let asked = 0; asked < count; asked++) packets.packet(PACKET.GRAB_JOB_UNIQ)
  const answers = await connection.askAll(packets, [PACKET.JOB_ASSIGN_UNIQ, PACKET.NO_JOB], count)
  return answers.flatMap((answer) =>
    answer instanceof GearmanError || answer.type === PACKET.NO_JOB ? [] : [readAssignment(answer.body)],
  )
}

async function carryOut(
  connection: PacketConnection,
  jobs: readonly Assignment[],
  decide: (job: ReceivedJob, queue: string) => Decision,
): Promise<number> {
  const deleted: Assignment[] = []
  const moved: { readonly job: Assignment; readonly submission: Submission }[] = []
  for (const job of jobs) {
    const received = decodeJob(job.unique, job.workload)
    const decision = decide({ ...received, id: received.id || job.unique }, queueOf(job.functionName))
    if (decision === 'delete') deleted.push(job)
    else if (decision !== 'keep') moved.push({ job, submission: decision })
  }
  const stored = await submit(
    connection,
    moved.map(({ submission }) => submission),
  )
  for (const [index, { job }] of moved.entries()) if (stored[index]?.status === 'stored') deleted.push(job)
  // WORK_FAIL, so that a client that waits for such a job is told.
  const packets = new PacketWriter()
  for (const { handle } of deleted) packets.packet(PACKET.WORK_FAIL, handle)
  if (deleted.length > 0) await connection.barrier(packets)
  return deleted.length
}
