import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startRabbitmq, type TestServer } from '@zyqueue/test-servers'
import { connect } from 'amqplib'
import { QUEUE } from '../bench-queue.ts'
import type { BrokerBench, Entry, Target } from '../bench.ts'
import type { CaseOutcome } from '../suite.ts'

const peersFolder = fileURLToPath(new URL('../../peers/rabbitmq', import.meta.url))
const own = (file: string): string => fileURLToPath(new URL(`./${file}`, import.meta.url))

/** At these rates a million jobs take minutes to submit, and the speed of a backlog depends on the server only. */
const without: Entry['without'] = ['backlog', 'memory']

const contestants: readonly Entry[] = [
  { name: 'zyqueue', kind: 'ours', module: own('../ours.js'), workBacklog: 100_000, startsProcesses: true, without },
  {
    name: 'rabbitmq-client',
    kind: 'peer',
    module: join(peersFolder, 'rabbitmq-client.js'),
    workBacklog: 100_000,
    without,
  },
  {
    name: 'celery',
    kind: 'peer',
    module: join(peersFolder, 'celery.js'),
    workBacklog: 5_000,
    startsProcesses: true,
    without: [...without, 'latency'],
  },
  { name: 'adapter', kind: 'limit', module: own('adapter.js'), workBacklog: 100_000, without },
  { name: 'raw', kind: 'limit', module: own('raw.js'), workBacklog: 100_000, without },
]

const targets: BrokerBench['targets'] = [
  { case: 'submit', text: 'submit: at least 0.9 of raw amqplib, confirmed', reached: partOfRaw(0.9) },
  { case: 'submitMany', text: 'submitMany: at least 0.9 of raw amqplib, confirmed', reached: partOfRaw(0.9) },
  { case: 'work', text: 'work: at least 0.85 of raw amqplib, prefetch 200', reached: partOfRaw(0.85) },
  { case: 'submit', text: 'submit: at most 1.5 times the CPU time of raw amqplib for each job', reached: cpuOfRaw },
  { case: 'submitMany', text: 'submitMany: at most 1.5 times the CPU time of raw amqplib', reached: cpuOfRaw },
  { case: 'work', text: 'work: at most 1.5 times the CPU time of raw amqplib for each job', reached: cpuOfRaw },
]

export const rabbitmq: BrokerBench = {
  broker: 'rabbitmq',
  peersFolder,
  workers: 2,
  contestants,
  newTarget: () => newTarget('quorum'),
  targets,
}

export const rabbitmqClassic: BrokerBench = {
  ...rabbitmq,
  broker: 'rabbitmq-classic',
  contestants: [
    ...contestants,
    { name: 'raw, priorities', kind: 'limit', module: own('raw-priorities.js'), workBacklog: 100_000, without },
  ],
  newTarget: () => newTarget('classic'),
}

let server: Promise<TestServer> | undefined

/** A new queue on a shared server, which takes eight seconds to start and ends with this process. */
async function newTarget(queueType: string): Promise<Target> {
  server ??= startRabbitmq()
  const { url, pid } = await server
  const connection = await connect(url)
  const channel = await connection.createChannel()
  for (const queue of [QUEUE, 'bench-celery']) await channel.deleteQueue(queue)
  await connection.close()
  return {
    address: `${url}?queueType=${queueType}&management=off`,
    serverPid: pid,
    async [Symbol.asyncDispose]() {},
  }
}

function partOfRaw(part: number): (ours: number, best: number | undefined, outcome: CaseOutcome) => boolean {
  return (ours, _best, { limits }) => ours >= part * (limits['raw'] ?? Infinity)
}

function cpuOfRaw(_ours: number, _best: number | undefined, { cpu }: CaseOutcome): boolean {
  return (cpu['zyqueue']?.client ?? Infinity) <= 1.5 * (cpu['raw']?.client ?? 0)
}
