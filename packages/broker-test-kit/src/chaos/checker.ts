import type { ChaosRecord } from './records.ts'

type RecordOf<Type extends ChaosRecord['type']> = Extract<ChaosRecord, { type: Type }>

/** What was left when all had been healed and drained. */
export interface FinalState {
  /** Jobs, by their submitter's names, that are still in a queue. */
  readonly waiting: readonly string[]
  /** Jobs that are dead letters. */
  readonly dead: readonly string[]
}

/** What the jobs were meant to come to. */
export interface Expectations {
  /** Attempts that a job may have. Default: 1. */
  readonly maxAttempts?: number
  /** Whether a job is one that has to end among the dead letters. Default: none is. */
  readonly mustBeDead?: (job: string) => boolean
  /**
   * Whether the broker has each id once: not where a release stores the job anew, for a crash in between leaves two copies,
   * and both may be delivered, at once even, and completed. `overlapping` and `staleAccepted` are not known then. Default: true.
   */
  readonly idsAreUnique?: boolean
}

/** What a history came to; counts of jobs. */
export interface CheckResult {
  readonly attempted: number
  /** Stored, as the submitter was told. */
  readonly acknowledged: number
  /** Acknowledged, and neither done nor dead nor waiting. */
  readonly lost: number
  /** Run, although they were refused or never submitted. */
  readonly unexpected: number
  /** Run to their end more than once. At-least-once allows it. */
  readonly duplicated: number
  /** Begun more than once and done in the end. */
  readonly recovered: number
  /** Given twice to one consumer that had not settled them in between. */
  readonly overlapping: number
  /** Completions that were accepted from an owner after another one had asked for work, and been given the job. */
  readonly staleAccepted: number
  /** Given more attempts than they may have. */
  readonly overAttempted: number
  /** Dead letters that must not be dead. */
  readonly wrongDeadLetters: number
  /** Acknowledged jobs that must be dead and are not among the dead letters in the end. */
  readonly missingDeadLetters: number
  /** Run with data that is not what was submitted. */
  readonly corrupted: number
  /** Submits that never settled, in a process that lived to its end. */
  readonly unsettled: number
  /** Still in a queue. */
  readonly waiting: number
  /** From the end of a process to the next run of a job that it ran: the longest, in ms. Absent where no job was cut short. */
  readonly recoverMs?: number
}

/** Judges a history: what every queue owes, whatever was broken on the way. Pure; the records are in the order of time. */
export function check(
  records: readonly ChaosRecord[],
  { waiting, dead }: FinalState,
  { maxAttempts = 1, mustBeDead = () => false, idsAreUnique = true }: Expectations = {},
): CheckResult {
  const submitted = new Map(of(records, 'submitted').map((record) => [record.job, record]))
  const answers = new Map(of(records, 'answered').map((record) => [record.job, record]))
  const finished = new Set(of(records, 'finished').map(({ pid }) => pid))
  const began = of(records, 'began')
  const runs = grouped(began, ({ job }) => job)
  const doneRuns = grouped(
    of(records, 'ended').filter(({ ok }) => ok),
    ({ job }) => job,
  )
  const waits = new Set(waiting)
  const died = new Set(dead)
  const stored = [...answers.values()].filter(({ status }) => status === 'stored').map(({ job }) => job)
  const isExpected = (job: string): boolean => {
    const answer = answers.get(job)
    // A submit that was never answered may have been stored.
    return submitted.has(job) && answer?.status !== 'refused'
  }
  const recoverMs = recovery(records, runs)
  return {
    attempted: submitted.size,
    acknowledged: stored.length,
    lost: stored.filter((job) => !doneRuns.has(job) && !died.has(job) && !waits.has(job)).length,
    unexpected: [...new Set([...runs.keys(), ...died, ...waits])].filter((job) => !isExpected(job)).length,
    duplicated: [...doneRuns.values()].filter((done) => done.length > 1).length,
    recovered: [...runs].filter(([job, all]) => all.length > 1 && doneRuns.has(job)).length,
    overlapping: idsAreUnique ? overlaps(records) : 0,
    staleAccepted: idsAreUnique ? staleCompletions(records) : 0,
    overAttempted: [...runs.values()].filter((all) => all.some(({ attempt }) => attempt > maxAttempts)).length,
    wrongDeadLetters: dead.filter((job) => !mustBeDead(job)).length,
    missingDeadLetters: stored.filter((job) => mustBeDead(job) && !died.has(job) && !waits.has(job)).length,
    corrupted: new Set(
      began.filter(({ job, hash }) => submitted.has(job) && submitted.get(job)?.hash !== hash).map(({ job }) => job),
    ).size,
    unsettled: [...submitted.values()].filter(({ job, pid }) => finished.has(pid) && !answers.has(job)).length,
    waiting: waiting.length,
    ...(recoverMs === undefined ? {} : { recoverMs }),
  }
}

/** Whether a result is free of all that must not be. Duplicates may be, and so may what waits. */
export function isClean(result: CheckResult): boolean {
  const {
    lost,
    unexpected,
    overlapping,
    staleAccepted,
    overAttempted,
    wrongDeadLetters,
    missingDeadLetters,
    corrupted,
    unsettled,
  } = result
  const faults = [
    lost,
    unexpected,
    overlapping,
    staleAccepted,
    overAttempted,
    wrongDeadLetters,
    missingDeadLetters,
    corrupted,
    unsettled,
  ]
  return faults.every((count) => count === 0)
}

function of<Type extends ChaosRecord['type']>(records: readonly ChaosRecord[], type: Type): RecordOf<Type>[] {
  return records.filter((record): record is RecordOf<Type> => record.type === type)
}

function grouped<Item>(items: readonly Item[], keyOf: (item: Item) => string): Map<string, Item[]> {
  const groups = new Map<string, Item[]>()
  for (const item of items) {
    const group = groups.get(keyOf(item))
    if (group === undefined) groups.set(keyOf(item), [item])
    else group.push(item)
  }
  return groups
}

function overlaps(records: readonly ChaosRecord[]): number {
  const held = new Set<string>()
  const overlapping = new Set<string>()
  for (const record of records) {
    if (record.type !== 'delivered' && record.type !== 'settled') continue
    const key = `${record.consumer} ${record.id}`
    if (record.type === 'settled') held.delete(key)
    else if (held.has(key)) overlapping.add(record.id)
    else held.add(key)
  }
  return overlapping.size
}

/** A process that notes a delivery so long after it had asked for one was frozen, in ms. */
const LATE_MS = 2_000

/** Jobs that were completed by one consumer when another had asked for work after it was given them, and was given them too. */
function staleCompletions(records: readonly ChaosRecord[]): number {
  const owners = new Map<string, { readonly consumer: string; readonly askedAt: number }>()
  const given = new Map<string, number>()
  const stale = new Set<string>()
  for (const record of records) {
    if (record.type === 'delivered') {
      const { id, consumer, at, askedAt = at } = record
      // A `receive` waits for a second: what was noted so much later was given at some time before.
      owners.set(id, { consumer, askedAt: at - askedAt > LATE_MS ? askedAt : at })
      given.set(`${consumer} ${id}`, at)
    } else if (record.type === 'settled' && record.verb !== 'release' && record.status === 'ok') {
      const owner = owners.get(record.id)
      const givenAt = given.get(`${record.consumer} ${record.id}`) ?? -Infinity
      if (owner?.consumer !== record.consumer && (owner?.askedAt ?? Infinity) >= givenAt) stale.add(record.id)
    }
  }
  return stale.size
}

/** The longest time from a kill to the next run of a job that was cut short by it. */
function recovery(
  records: readonly ChaosRecord[],
  runs: ReadonlyMap<string, readonly RecordOf<'began'>[]>,
): number | undefined {
  const ends = new Set(of(records, 'ended').map(({ job, pid }) => `${job} ${pid}`))
  let longest: number | undefined
  for (const { pid, at } of of(records, 'killed')) {
    for (const [job, all] of runs) {
      if (!all.some((run) => run.pid === pid && run.at <= at) || ends.has(`${job} ${pid}`)) continue
      const next = all.find((run) => run.at > at)
      if (next !== undefined) longest = Math.max(longest ?? 0, next.at - at)
    }
  }
  return longest === undefined ? undefined : Math.round(longest)
}
