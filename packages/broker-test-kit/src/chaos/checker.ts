import type { ChaosRecord } from './records.ts'

type RecordOf<Type extends ChaosRecord['type']> = Extract<ChaosRecord, { type: Type }>

/** The state of the queue after all faults were healed and the queue was drained. */
export interface FinalState {
  /** The submitter's names of the jobs that are still in a queue. */
  readonly waiting: readonly string[]
  /** The submitter's names of the jobs that are dead letters. */
  readonly dead: readonly string[]
}

/** What the jobs may and must do. */
export interface Expectations {
  /** The most attempts of a job. Default: 1. */
  readonly maxAttempts?: number
  /** Whether a job must become a dead letter. Default: no job must. */
  readonly mustBeDead?: (job: string) => boolean
  /**
   * Whether the broker stores each id once. `false` if a release stores a copy of the job: a crash before the original is
   * deleted leaves two copies, which may both be delivered and completed. `overlapping` and `staleAccepted` are then 0. Default:
   * true.
   */
  readonly idsAreUnique?: boolean
}

/** The result of a check. All figures except `recoverMs` count jobs. */
export interface CheckResult {
  readonly attempted: number
  /** Reported as stored to the submitter. */
  readonly acknowledged: number
  /** Acknowledged, but neither done nor dead nor waiting. */
  readonly lost: number
  /** Run, dead or waiting although they were refused or never submitted. */
  readonly unexpected: number
  /** Completed more than once. At-least-once delivery allows it. */
  readonly duplicated: number
  /** Started more than once and completed. */
  readonly recovered: number
  /** Delivered again to a consumer that still held them. */
  readonly overlapping: number
  /** Completed by a consumer after another consumer had received them. */
  readonly staleAccepted: number
  /** Started more often than `maxAttempts` allows. */
  readonly overAttempted: number
  /** Dead letters that are not expected. */
  readonly wrongDeadLetters: number
  /** Acknowledged jobs that must be dead and are not among the dead letters in the end. */
  readonly missingDeadLetters: number
  /** Run with other data than was submitted. */
  readonly corrupted: number
  /** Submits that never settled although their process ended normally. */
  readonly unsettled: number
  /** Still in a queue. */
  readonly waiting: number
  /** The longest time from the kill of a process to the next run of a job that it was running, in ms. Absent if there was none. */
  readonly recoverMs?: number
}

/**
 * Checks a history against the guarantees that hold under every fault. The records must be in the order of their times.
 *
 * ```ts
 * const result = check(readRecords(folder), { waiting, dead }, { maxAttempts: 6 })
 * if (!isClean(result)) throw new Error(JSON.stringify(result))
 * ```
 */
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

/** Whether a result has no violation. Duplicated and waiting jobs are allowed. */
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

/** A process that records a delivery this many milliseconds after the start of its `receive` was frozen. */
const LATE_MS = 2_000

/** Jobs that one consumer completed after another consumer had asked for work later and received the same job. */
function staleCompletions(records: readonly ChaosRecord[]): number {
  const owners = new Map<string, { readonly consumer: string; readonly askedAt: number }>()
  const given = new Map<string, number>()
  const stale = new Set<string>()
  for (const record of records) {
    if (record.type === 'delivered') {
      const { id, consumer, at, askedAt = at } = record
      // A `receive` waits for about a second. A delivery that is recorded much later arrived at an unknown time before.
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

/** The longest time from a kill to the next run of a job that it interrupted. */
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
