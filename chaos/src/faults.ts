import { setTimeout as sleep } from 'node:timers/promises'
import { now, waitFor, type ProxyFault } from '@zyqueue/broker-test-kit'
import { arm, type CrashPoint } from './crash-point.ts'
import { LEASE_MS, signal, type Scenario } from './scenario.ts'
import { publishGarbage, submitPoison } from './harmful-jobs.ts'
import type { TargetKind } from './target.ts'

/** One kind of fault. */
export interface Fault {
  readonly name: string
  /** One sentence for the page of results. */
  readonly description: string
  /** Whether the fault is possible on this kind of broker. Default: on all. */
  readonly fits?: (kind: TargetKind) => boolean
  /** Whether the processes connect through the proxy. */
  readonly proxied?: boolean
  /** Whether the broker needs a small disk. */
  readonly small?: boolean
  /** Whether the fault affects the whole server, so that no other run may use it. */
  readonly exclusive?: boolean
  /** Whether connections break although their processes live. */
  readonly cutsConnections?: boolean
  /** Additional environment variables of the processes. */
  readonly environment?: NodeJS.ProcessEnv
  /** Applies the fault while jobs are submitted and run. Resolves when the fault can be healed. */
  apply(scenario: Scenario, kind: TargetKind): Promise<void>
  /** Repairs what does not recover by itself. */
  heal?(scenario: Scenario): Promise<void>
}

/** The longest time until a producer submits again after a wipe. The pauses between its attempts to connect grow. */
const RESUBMIT_TIMEOUT_MS = 240_000

const servers = ({ isServer }: TargetKind): boolean => isServer

export const FAULTS: readonly Fault[] = [
  {
    name: 'none',
    description: 'No fault.',
    apply: (scenario) => scenario.wait(1),
  },
  {
    name: 'worker-kill',
    description: 'Worker processes are killed with SIGKILL at random times.',
    async apply(scenario) {
      for (let kills = 0; kills < 3; kills++) {
        await scenario.wait(0.2)
        scenario.kill(await scenario.worker())
      }
    },
  },
  ...crashes({
    claimed: 'after it has received jobs and before it runs one',
    effect: 'after it has completed a job and before it reports that',
    ack: 'before it sends an ack',
  }),
  {
    name: 'supervisor-kill',
    description:
      'The supervisor is killed with SIGKILL. Its workers drain and exit, and another supervisor is started.',
    async apply(scenario) {
      await scenario.wait(0.5)
      await scenario.killSupervisor()
    },
    heal: (scenario) => scenario.supervise(),
  },
  {
    name: 'tree-kill',
    description:
      'The supervisor and all its workers are killed with SIGKILL at once, as by a crash of the host. Another supervisor is started.',
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
    description: 'Producers are killed with SIGKILL while they submit.',
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
    description: 'The broker is killed with SIGKILL and started again with the data on its disk.',
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
      'The broker is killed and started again without data. Only jobs that are submitted after that must survive, also those of a producer that was running before.',
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
      await waitFor(
        'a job that is stored after the wipe',
        () => isStoredAfterWipe(scenario, 'through'),
        RESUBMIT_TIMEOUT_MS,
      )
      await scenario.wait(0.7)
      producer.kill('SIGTERM')
    },
  },
  ...freezes([0.5, 1.5, 5]),
  ...treeFreezes([0.5, 1.5, 5]),
  ...proxyFaults({
    cut: 'Connections end after a request was forwarded and before its answer.',
    truncate: 'Connections end in the middle of a request.',
    stall: 'Old and new connections stay open, and no bytes pass.',
    halfClose: 'The broker’s side of every connection ends.',
    trickle: 'Bytes are forwarded one at a time.',
    reset: 'Old and new connections are reset.',
  }),
  {
    name: 'no-room',
    description: 'The broker has no space for jobs: a full disk or a memory limit.',
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
    description:
      'Messages are published that are not jobs: not JSON, empty, NUL bytes, too large, or of an unknown task.',
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
  ...poisons({
    exit: 'Jobs end their worker process.',
    memory: 'Jobs exhaust the memory of their worker process.',
    spin: 'Jobs block their worker process for ever.',
  }),
]

/** Whether a job that this producer submitted after the wipe is stored. */
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
    description: `A worker process is killed with SIGKILL ${points[point]}.`,
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
    description: `A worker process is stopped with SIGSTOP for ${count} times the lease.`,
    async apply(scenario) {
      await scenario.wait(0.2)
      const pid = await scenario.worker()
      signal(pid, 'SIGSTOP')
      await sleep(LEASE_MS * count)
      signal(pid, 'SIGCONT')
    },
  }))
}

/** If the supervisor is stopped too, no process renews the leases: other workers get the jobs, and the stopped ones are too late. */
function treeFreezes(leases: readonly number[]): Fault[] {
  return leases.map((count) => ({
    name: `tree-stop-${count}`,
    description: `A supervisor and its workers are stopped with SIGSTOP for ${count} times the lease while another supervisor runs.`,
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
      if (proxy === undefined) throw new Error('The target has no proxy: start it with `proxied: true`.')
      for (let times = 0; times < 3; times++) {
        await scenario.wait(0.1)
        proxy.fault = fault
        await scenario.wait(0.2)
        proxy.fault = 'pass'
      }
    },
  }))
}

function poisons(descriptions: Readonly<Record<'exit' | 'memory' | 'spin', string>>): Fault[] {
  return (['exit', 'memory', 'spin'] as const).map((poison) => ({
    name: `poison-${poison}`,
    description: descriptions[poison],
    environment: poison === 'memory' ? { NODE_OPTIONS: '--max-old-space-size=48' } : {},
    async apply(scenario) {
      await submitPoison(scenario, poison, 2)
      await scenario.wait(0.5)
    },
  }))
}
