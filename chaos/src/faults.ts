import { setTimeout as sleep } from 'node:timers/promises'
import { now, waitFor, type ProxyFault } from '@zyqueue/broker-test-kit'
import { arm, type CrashPoint } from './crash-point.ts'
import { LEASE_MS, signal, type Scenario } from './scenario.ts'
import { publishGarbage, submitPoison } from './harmful-jobs.ts'
import type { TargetKind } from './target.ts'

/** One way to break things. */
export interface Fault {
  readonly name: string
  /** In one sentence, for the page of results. */
  readonly description: string
  /** Whether it can be done to this kind of broker. Default: to all. */
  readonly fits?: (kind: TargetKind) => boolean
  /** Whether the cell's processes go through the proxy. */
  readonly proxied?: boolean
  /** Whether the broker has little space. */
  readonly small?: boolean
  /** Whether it is done to the whole server, which nobody else may use meanwhile. */
  readonly exclusive?: boolean
  /** Whether connections of processes break that live on. */
  readonly cutsConnections?: boolean
  /** Of the cell's processes. */
  readonly environment?: NodeJS.ProcessEnv
  /** Breaks things while jobs are submitted and run; resolves when all that it broke can be healed. */
  apply(scenario: Scenario, kind: TargetKind): Promise<void>
  /** Makes whole what does not heal by itself. */
  heal?(scenario: Scenario): Promise<void>
}

/** How long a producer may take to submit again after a wipe: it waits longer and longer between its attempts to connect. */
const RESUBMIT_TIMEOUT_MS = 240_000

const servers = ({ isServer }: TargetKind): boolean => isServer

export const FAULTS: readonly Fault[] = [
  {
    name: 'none',
    description: 'Nothing is broken.',
    apply: (scenario) => scenario.wait(1),
  },
  {
    name: 'worker-kill',
    description: 'Worker processes get SIGKILL at random times.',
    async apply(scenario) {
      for (let kills = 0; kills < 3; kills++) {
        await scenario.wait(0.2)
        scenario.kill(await scenario.worker())
      }
    },
  },
  ...crashes({
    claimed: 'has been given jobs, and has run none of them',
    effect: 'has done a job, and has not said so',
    ack: 'is about to send an ack',
  }),
  {
    name: 'supervisor-kill',
    description: 'The supervisor gets SIGKILL; its workers drain and end, and another one is started.',
    async apply(scenario) {
      await scenario.wait(0.5)
      await scenario.killSupervisor()
    },
    heal: (scenario) => scenario.supervise(),
  },
  {
    name: 'tree-kill',
    description: 'The supervisor and all its workers get SIGKILL at once, as with their host; another one is started.',
    async apply(scenario) {
      await scenario.wait(0.5)
      const workers = scenario.workers()
      const supervisorEnds = scenario.killSupervisor()
      for (const pid of workers) scenario.kill(pid)
      await supervisorEnds
    },
    heal: (scenario) => scenario.supervise(),
  },
  {
    name: 'producer-kill',
    description: 'Producers get SIGKILL in the middle of their submits.',
    async apply(scenario) {
      for (let kills = 0; kills < 3; kills++) {
        const producer = scenario.produce(`extra${kills}x`, 10_000, 1)
        await scenario.wait(0.3)
        producer.kill('SIGKILL')
      }
    },
  },
  {
    name: 'broker-kill',
    cutsConnections: true,
    description: 'The broker gets SIGKILL and is started again with what it has on its disk.',
    fits: servers,
    exclusive: true,
    async apply(scenario) {
      await scenario.wait(0.3)
      await scenario.target.server?.kill('SIGKILL')
      await scenario.wait(0.2)
      await scenario.target.server?.restart()
    },
  },
  {
    name: 'broker-wipe',
    description:
      'The broker is started again with nothing; what it takes from then on, from a producer that lives through it too, is held against it.',
    fits: servers,
    exclusive: true,
    async apply(scenario) {
      const { server, wipe } = scenario.target
      const producer = scenario.produce('through', 10_000, 20)
      await scenario.wait(0.3)
      await server?.kill('SIGKILL')
      scenario.wipedAt = now()
      await wipe?.()
      await server?.restart()
      await waitFor('a job that it stores anew', () => isStoredAfterWipe(scenario, 'through'), RESUBMIT_TIMEOUT_MS)
      await scenario.wait(0.7)
      producer.kill('SIGTERM')
    },
  },
  ...freezes([0.5, 1.5, 5]),
  ...treeFreezes([0.5, 1.5, 5]),
  ...proxyFaults({
    cut: 'Connections end after a request was forwarded and before it is answered.',
    truncate: 'Connections end in the middle of a request.',
    stall: 'Nothing goes through, on connections old and new, while all stay open.',
    halfClose: 'The broker’s side of every connection ends.',
    trickle: 'Bytes come one at a time.',
    reset: 'Every connection is reset, and so is every new one.',
  }),
  {
    name: 'no-room',
    description: 'The broker has no room for jobs: a full disk, a memory limit.',
    small: true,
    exclusive: true,
    fits: ({ hasSpaceLimit }) => hasSpaceLimit,
    async apply(scenario) {
      await scenario.wait(0.3)
      await scenario.target.space?.exhaust()
      await scenario.wait(0.5)
    },
    heal: async ({ target }) => target.space?.restore(),
  },
  {
    name: 'clock-jump',
    description: 'The clock of one worker process jumps an hour ahead.',
    async apply(scenario) {
      await scenario.wait(0.3)
      arm(scenario.folder, 'jump')
      await scenario.wait(0.7)
    },
  },
  {
    name: 'garbage',
    description: 'Messages are published that are no jobs: no JSON, nothing, NULs, too large, of an unknown task.',
    async apply(scenario, kind) {
      for (let round = 0; round < 3; round++) {
        await publishGarbage(scenario, kind, round)
        await scenario.wait(0.2)
      }
    },
  },
  {
    name: 'injected-fault',
    description: 'The broker drops what it only caches (scripts) and closes the connections of all clients.',
    exclusive: true,
    cutsConnections: true,
    fits: ({ hasInjectedFault }) => hasInjectedFault,
    async apply(scenario) {
      for (let times = 0; times < 3; times++) {
        await scenario.wait(0.2)
        await scenario.target.injectFault?.()
      }
    },
  },
  ...poisons({ exit: 'end', memory: 'exhaust the memory of', spin: 'block for ever' }),
]

/** Whether a job that this producer submitted after the wipe was stored. */
function isStoredAfterWipe(scenario: Scenario, producer: string): boolean {
  const records = scenario.records()
  const before = scenario.submittedBeforeWipe(records)
  return records.some(
    (record) =>
      record.type === 'answered' &&
      record.status === 'stored' &&
      record.job.includes(producer) &&
      !before.has(record.job),
  )
}

function crashes(points: Readonly<Record<CrashPoint, string>>): Fault[] {
  return (['claimed', 'effect', 'ack'] as const).map((point) => ({
    name: `worker-kill-${point}`,
    description: `A worker process gets SIGKILL when it ${points[point]}.`,
    async apply(scenario) {
      for (let kills = 0; kills < 3; kills++) {
        arm(scenario.folder, point)
        await scenario.wait(0.2)
      }
    },
  }))
}

function freezes(leases: readonly number[]): Fault[] {
  return leases.map((count) => ({
    name: `worker-stop-${count}`,
    description: `A worker process gets SIGSTOP, and SIGCONT after ${count} leases.`,
    async apply(scenario) {
      await scenario.wait(0.2)
      const pid = await scenario.worker()
      signal(pid, 'SIGSTOP')
      await sleep(LEASE_MS * count)
      signal(pid, 'SIGCONT')
    },
  }))
}

/** With their supervisor frozen too, nobody vouches for the jobs: they go to others, and whoever thaws is too late. */
function treeFreezes(leases: readonly number[]): Fault[] {
  return leases.map((count) => ({
    name: `tree-stop-${count}`,
    description: `A supervisor and its workers get SIGSTOP, and SIGCONT after ${count} leases, beside another supervisor.`,
    cutsConnections: true,
    async apply(scenario) {
      const first = scenario.supervisor
      await scenario.supervise()
      const pids = [first.pid ?? 0, ...scenario.workers(first)]
      for (const pid of pids) signal(pid, 'SIGSTOP')
      await sleep(LEASE_MS * count)
      for (const pid of pids) signal(pid, 'SIGCONT')
    },
  }))
}

function proxyFaults(description: Readonly<Partial<Record<ProxyFault, string>>>): Fault[] {
  return (['cut', 'truncate', 'stall', 'halfClose', 'trickle', 'reset'] as const).map((fault) => ({
    name: `net-${fault.toLowerCase()}`,
    description: description[fault] ?? fault,
    proxied: true,
    cutsConnections: true,
    fits: servers,
    async apply(scenario) {
      const { proxy } = scenario.target
      if (proxy === undefined) throw new Error('this fault needs a proxy')
      for (let times = 0; times < 3; times++) {
        await scenario.wait(0.1)
        proxy.fault = fault
        await scenario.wait(0.2)
        proxy.fault = 'pass'
      }
    },
  }))
}

function poisons(description: Readonly<Record<'exit' | 'memory' | 'spin', string>>): Fault[] {
  return (['exit', 'memory', 'spin'] as const).map((poison) => ({
    name: `poison-${poison}`,
    description: `Jobs ${description[poison]} the process that runs them.`,
    environment: poison === 'memory' ? { NODE_OPTIONS: '--max-old-space-size=48' } : {},
    async apply(scenario) {
      await submitPoison(scenario, poison, 2)
      await scenario.wait(0.5)
    },
  }))
}
