import { PacketConnection } from '../connection/packet-connection.ts'
import { purposeOf } from '../functions.ts'
import { PACKET, PacketWriter, readAssignment, type Assignment } from '../connection/protocol.ts'
import type { GearmanServer } from '../connection/gearman-server.ts'
import { submit, type Submission } from '../publish/publish.ts'
import { decodeJob, type ReceivedJob } from '../message.ts'

/** Jobs that are asked for at once. */
const WINDOW = 256

/** What becomes of a job that was looked at. */
export type Decision =
  /** It goes back to where it was when all have been looked at. */
  | 'keep'
  | 'delete'
  /** It is submitted there first, and then deleted here. */
  | Submission

/**
 * Looks at the jobs that wait in functions, as a worker that takes them: the only way there is to see them. What is kept, the
 * server takes back at the end, or when this process dies. Resolves to how many were deleted or moved. Looks at no more than
 * `most`, so that it ends although others submit.
 */
export async function takeAndReturn(
  server: Pick<GearmanServer, 'address' | 'signal'>,
  functions: readonly string[],
  most: number,
  judge: (job: ReceivedJob, queue: string) => Decision,
): Promise<number> {
  if (functions.length === 0 || most === 0) return 0
  const connection = await PacketConnection.open(server.address, server.signal)
  const onAbort = (): void => connection.close()
  server.signal.addEventListener('abort', onAbort)
  try {
    const abilities = new PacketWriter()
    for (const name of functions) abilities.packet(PACKET.CAN_DO, name)
    connection.write(abilities)
    let gone = 0
    for (let seen = 0, empty = false; seen < most && !empty;) {
      const count = Math.min(WINDOW, most - seen)
      const jobs = await grab(connection, count)
      seen += jobs.length
      empty = jobs.length < count
      gone += await carryOut(connection, jobs, judge)
    }
    // Unlike the end of the connection, this is done when the answer comes.
    await connection.barrier(new PacketWriter().packet(PACKET.RESET_ABILITIES))
    return gone
  } finally {
    server.signal.removeEventListener('abort', onAbort)
    connection.close()
  }
}

function grab(connection: PacketConnection, count: number): Promise<readonly Assignment[]> {
  const packets = new PacketWriter()
  for (let asked = 0; asked < count; asked++) packets.packet(PACKET.GRAB_JOB_UNIQ)
  return new Promise((resolve, reject) => {
    const jobs: Assignment[] = []
    let answers = 0
    connection.ask(
      packets,
      [PACKET.JOB_ASSIGN_UNIQ, PACKET.NO_JOB],
      count,
      (answer) => {
        if ('type' in answer && answer.type === PACKET.JOB_ASSIGN_UNIQ) jobs.push(readAssignment(answer.body))
        if (++answers === count) resolve(jobs)
      },
      reject,
    )
  })
}

async function carryOut(
  connection: PacketConnection,
  jobs: readonly Assignment[],
  judge: (job: ReceivedJob, queue: string) => Decision,
): Promise<number> {
  const doomed: Assignment[] = []
  const moved: { readonly job: Assignment; readonly submission: Submission }[] = []
  for (const job of jobs) {
    const purpose = purposeOf(job.functionName)
    const queue = 'queue' in purpose ? purpose.queue : job.functionName
    const verdict = judge(decodeJob(job.unique, job.workload), queue)
    if (verdict === 'delete') doomed.push(job)
    else if (verdict !== 'keep') moved.push({ job, submission: verdict })
  }
  const stored = await submit(
    connection,
    moved.map(({ submission }) => submission),
  )
  for (const [index, { job }] of moved.entries()) if (stored[index]?.status === 'stored') doomed.push(job)
  // A failure, so that whoever waits for such a job hears of it.
  const packets = new PacketWriter()
  for (const { handle } of doomed) packets.packet(PACKET.WORK_FAIL, handle)
  if (doomed.length > 0) await connection.barrier(packets)
  return doomed.length
}
