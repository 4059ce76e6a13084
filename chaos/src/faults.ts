import { setTimeout as sleep } from 'node:timers/promises'
import { now, waitFor, type ProxyFault } from '@zyqueue/broker-test-kit'
import { arm, type CrashPoint } from './crash-point.ts'
import { LEASE_MS, signal, type Scene } from './scene.ts'
import { publishGarbage, submitPoison } from './strange-jobs.ts'
import type { TargetKind } from './target.ts'

/** One way to break things. */
export interface Fault {
  readonly name: string
  /** In one sentence, for the page of results. */
  readonly says: string
  /** Whether it can be done to this kind of broker. Default: to all. */
  readonly fits?: (kind: TargetKind) => boolean
  /** Whether the cell's processes go through the proxy. */
  readonly proxied?: boolean
  /** Whether the broker has little room. */
  readonly small?: boolean
  /** Whether it is done to the whole server, which nobody else may use meanwhile. */
  readonly exclusive?: boolean
  /** Whether connections of processes break that live on. */
  readonly cutsConnections?: boolean
  /** Of the cell's processes. */
  readonly environment?: NodeJS.ProcessEnv
  /** Breaks things while jobs are submitted and run; resolves when all that it broke can be healed. */
  apply(scene: Scene, kind: TargetKind): Promise<void>
  /** Makes whole what does not heal by itself. */
  heal?(scene: Scene): Promise<void>
}

/** How long a producer may take to submit again after a wipe: it waits longer and longer between its attempts to connect. */
const ANEW_MS = 240_000

const servers = ({ isServer }: TargetKind): boolean => isServer

export const FAULTS: readonly Fault[] = [
  {
    name: 'none',
    says: 'Nothing is broken.',
    apply: (scene) => scene.pass(1),
  },
  {
    name: 'worker-kill',
    says: 'Worker processes get SIGKILL at random times.',
    async apply(scene) {
      for (let kills = 0; kills < 3; kills++) {
        await scene.pass(0.2)
        scene.kill(await scene.worker())
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
    says: 'The supervisor gets SIGKILL; its workers drain and end, and another one is started.',
    async apply(scene) {
      await scene.pass(0.5)
      await scene.killSupervisor()
    },
    heal: (scene) => scene.supervise(),
  },
  {
    name: 'tree-kill',
    says: 'The supervisor and all its workers get SIGKILL at once, as with their host; another one is started.',
    async apply(scene) {
      await scene.pass(0.5)
      const workers = scene.workers()
      const supervisorEnds = scene.killSupervisor()
      for (const pid of workers) scene.kill(pid)
      await supervisorEnds
    },
    heal: (scene) => scene.supervise(),
  },
  {
    name: 'producer-kill',
    says: 'Producers get SIGKILL in the middle of their submits.',
    async apply(scene) {
      for (let kills = 0; kills < 3; kills++) {
        const producer = scene.produce(`extra${kills}x`, 10_000, 1)
        await scene.pass(0.3)
        producer.kill('SIGKILL')
      }
    },
  },
  {
    name: 'broker-kill',
    cutsConnections: true,
    says: 'The broker gets SIGKILL and is started again with what it has on its disk.',
    fits: servers,
    exclusive: true,
    async apply(scene) {
      await scene.pass(0.3)
      await scene.target.server?.kill('SIGKILL')
      await scene.pass(0.2)
      await scene.target.server?.restart()
    },
  },
  {
    name: 'broker-wipe',
    says: 'The broker is started again with nothing; what it takes from then on, from a producer that lives through it too, is held against it.',
    fits: servers,
    exclusive: true,
    async apply(scene) {
      const { server, wipe } = scene.target
      const producer = scene.produce('through', 10_000, 20)
      await scene.pass(0.3)
      await server?.kill('SIGKILL')
      scene.wipedAt = now()
      await wipe?.()
      await server?.restart()
      await waitFor('a job that it stores anew', () => isStoredAnew(scene, 'through'), ANEW_MS)
      await scene.pass(0.7)
      producer.kill('SIGTERM')
    },
  },
  ...freezes([0.5, 1.5, 5]),
  ...wholeFreezes([0.5, 1.5, 5]),
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
    says: 'The broker has no room for jobs: a full disk, a memory limit.',
    small: true,
    exclusive: true,
    fits: ({ hasLimits }) => hasLimits,
    async apply(scene) {
      await scene.pass(0.3)
      await scene.target.room?.take()
      await scene.pass(0.5)
    },
    heal: async ({ target }) => target.room?.giveBack(),
  },
  {
    name: 'clock-jump',
    says: 'The clock of one worker process jumps an hour ahead.',
    async apply(scene) {
      await scene.pass(0.3)
      arm(scene.folder, 'jump')
      await scene.pass(0.7)
    },
  },
  {
    name: 'garbage',
    says: 'Messages are published that are no jobs: no JSON, nothing, NULs, too large, of an unknown task.',
    async apply(scene, kind) {
      for (let round = 0; round < 3; round++) {
        await publishGarbage(scene, kind, round)
        await scene.pass(0.2)
      }
    },
  },
  {
    name: 'mishaps',
    says: 'The broker forgets what it only caches (scripts), or a queue is deleted under its workers.',
    exclusive: true,
    cutsConnections: true,
    fits: ({ hasMishaps }) => hasMishaps,
    async apply(scene) {
      for (let times = 0; times < 3; times++) {
        await scene.pass(0.2)
        await scene.target.mishap?.()
      }
    },
  },
  ...poisons({ exit: 'end', memory: 'exhaust the memory of', spin: 'block for ever' }),
]

/** Whether a job that this producer submitted after the wipe was stored. */
function isStoredAnew(scene: Scene, producer: string): boolean {
  const records = scene.records()
  const before = scene.submittedBeforeWipe(records)
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
    says: `A worker process gets SIGKILL when it ${points[point]}.`,
    async apply(scene) {
      for (let kills = 0; kills < 3; kills++) {
        arm(scene.folder, point)
        await scene.pass(0.2)
      }
    },
  }))
}

function freezes(leases: readonly number[]): Fault[] {
  return leases.map((count) => ({
    name: `worker-stop-${count}`,
    says: `A worker process gets SIGSTOP, and SIGCONT after ${count} leases.`,
    async apply(scene) {
      await scene.pass(0.2)
      const pid = await scene.worker()
      signal(pid, 'SIGSTOP')
      await sleep(LEASE_MS * count)
      signal(pid, 'SIGCONT')
    },
  }))
}

/** With their supervisor frozen too, nobody vouches for the jobs: they go to others, and whoever thaws is too late. */
function wholeFreezes(leases: readonly number[]): Fault[] {
  return leases.map((count) => ({
    name: `tree-stop-${count}`,
    says: `A supervisor and its workers get SIGSTOP, and SIGCONT after ${count} leases, beside another supervisor.`,
    cutsConnections: true,
    async apply(scene) {
      const first = scene.supervisor
      await scene.supervise()
      const pids = [first.pid ?? 0, ...scene.workers(first)]
      for (const pid of pids) signal(pid, 'SIGSTOP')
      await sleep(LEASE_MS * count)
      for (const pid of pids) signal(pid, 'SIGCONT')
    },
  }))
}

function proxyFaults(says: Readonly<Partial<Record<ProxyFault, string>>>): Fault[] {
  return (['cut', 'truncate', 'stall', 'halfClose', 'trickle', 'reset'] as const).map((fault) => ({
    name: `net-${fault.toLowerCase()}`,
    says: says[fault] ?? fault,
    proxied: true,
    cutsConnections: true,
    fits: servers,
    async apply(scene) {
      const { proxy } = scene.target
      if (proxy === undefined) throw new Error('this fault needs a proxy')
      for (let times = 0; times < 3; times++) {
        await scene.pass(0.1)
        proxy.fault = fault
        await scene.pass(0.2)
        proxy.fault = 'pass'
      }
    },
  }))
}

function poisons(says: Readonly<Record<'exit' | 'memory' | 'spin', string>>): Fault[] {
  return (['exit', 'memory', 'spin'] as const).map((poison) => ({
    name: `poison-${poison}`,
    says: `Jobs ${says[poison]} the process that runs them.`,
    environment: poison === 'memory' ? { NODE_OPTIONS: '--max-old-space-size=48' } : {},
    async apply(scene) {
      await submitPoison(scene, poison, 2)
      await scene.pass(0.5)
    },
  }))
}
