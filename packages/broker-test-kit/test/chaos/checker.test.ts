import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { check, isClean, type FinalState, type ChaosRecord, type CheckResult } from '../../src/index.ts'

/** What a correct queue does with one job. */
interface JobPlan {
  readonly answer: 'stored' | 'refused' | 'unknown' | 'never'
  /** How each run ended: the worker died, the handler threw, or the job was done. `done` is always the last. */
  readonly runs: readonly ('died' | 'threw' | 'done')[]
  readonly end: 'done' | 'dead' | 'waiting' | 'never stored'
}

interface History {
  readonly records: ChaosRecord[]
  readonly finalState: FinalState
  readonly mustBeDead: ReadonlySet<string>
}

const MAX_ATTEMPTS = 3

const plan: fc.Arbitrary<JobPlan> = fc
  .record({
    answer: fc.constantFrom('stored', 'stored', 'stored', 'unknown', 'refused'),
    before: fc.array(fc.constantFrom('died', 'threw'), { maxLength: 4 }),
    end: fc.constantFrom('done', 'done', 'dead', 'waiting'),
    wasStored: fc.boolean(),
  })
  .map(({ answer, before, end, wasStored }): JobPlan => {
    if (answer === 'refused' || (answer === 'unknown' && !wasStored)) return { answer, runs: [], end: 'never stored' }
    let threw = 0
    const runs = before.filter((run) => run === 'died' || ++threw < MAX_ATTEMPTS)
    return { answer, runs: end === 'done' ? [...runs, 'done'] : runs, end }
  })

/** The history of a correct queue with these jobs. */
function historyOf(plans: readonly JobPlan[]): History {
  const records: ChaosRecord[] = []
  let at = 0
  let workers = 100
  const finalState = { waiting: [] as string[], dead: [] as string[] }
  const mustBeDead = new Set<string>()
  for (const [index, { answer, runs, end }] of plans.entries()) {
    const job = `job-${index}`
    const id = `id-${index}`
    const hash = `hash-${index}`
    records.push({ type: 'submitted', job, hash, pid: 1, at: at++ })
    if (answer !== 'never') records.push({ type: 'answered', job, status: answer, at: at++ })
    let attempt = 1
    for (const run of runs) {
      const pid = workers++
      const consumer = `consumer-${pid}`
      records.push({ type: 'delivered', id, consumer, at: at++ })
      records.push({ type: 'began', job, id, hash, attempt, pid, at: at++ })
      if (run === 'died') records.push({ type: 'killed', pid, at: at++ })
      else {
        records.push({ type: 'ended', job, id, ok: run === 'done', pid, at: at++ })
        const verb = run === 'done' ? 'ack' : 'release'
        records.push({ type: 'settled', id, consumer, verb, status: 'ok', at: at++ })
        attempt++
      }
    }
    if (end === 'dead') mustBeDead.add(job)
    if (end === 'dead') finalState.dead.push(job)
    if (end === 'waiting') finalState.waiting.push(job)
  }
  records.push({ type: 'finished', pid: 1, at: at++ })
  return { records, finalState, mustBeDead }
}

function checkHistory({ records, finalState, mustBeDead }: History): CheckResult {
  return check(records, finalState, { maxAttempts: MAX_ATTEMPTS, mustBeDead: (job) => mustBeDead.has(job) })
}

test('the history of a correct queue is clean', () => {
  fc.assert(
    fc.property(fc.array(plan, { maxLength: 30 }), (plans) => {
      const result = checkHistory(historyOf(plans))
      expect(result).toMatchObject({ duplicated: 0, attempted: plans.length })
      expect(result.acknowledged).toBe(plans.filter(({ answer }) => answer === 'stored').length)
      expect(isClean(result)).toBe(true)
    }),
  )
})

/** Histories that contain one stored job that was done in its first run. */
const withOneDone = fc
  .tuple(fc.array(plan, { maxLength: 10 }), fc.array(plan, { maxLength: 10 }))
  .map(([before, after]) => ({
    job: before.length,
    history: historyOf([...before, { answer: 'stored', runs: ['done'], end: 'done' }, ...after]),
  }))

/** Each violates one guarantee in a history. The checker must report this violation and no other. */
const VIOLATIONS: Readonly<
  Record<
    string,
    { readonly seenAs: Partial<CheckResult>; readonly violate: (history: History, index: number) => History }
  >
> = {
  'a job that is lost before it runs': {
    seenAs: { lost: 1 },
    violate: ({ records, ...rest }, index) => ({
      ...rest,
      records: records.filter((record) => !('id' in record && record.id === `id-${index}`)),
    }),
  },
  'a job that is lost during its run': {
    seenAs: { lost: 1 },
    violate: ({ records, ...rest }, index) => ({
      ...rest,
      records: records.filter((record) => !(record.type === 'ended' && record.job === `job-${index}`)),
    }),
  },
  'a job that is done twice': {
    seenAs: { duplicated: 1, recovered: 1 },
    violate: ({ records, ...rest }, index) => ({ ...rest, records: [...records, ...runAgain(index, 'again')] }),
  },
  'a job that was not submitted': {
    seenAs: { unexpected: 1 },
    violate: ({ records, ...rest }) => ({ ...rest, records: [...records, ...runAgain(999, 'foreign')] }),
  },
  'a refused job that is run': {
    seenAs: { unexpected: 1, acknowledged: -1 },
    violate: ({ records, ...rest }, index) => ({
      ...rest,
      records: records.map((record) =>
        record.type === 'answered' && record.job === `job-${index}` ? { ...record, status: 'refused' } : record,
      ),
    }),
  },
  'a delivery to an owner that has it already': {
    seenAs: { overlapping: 1 },
    violate: ({ records, ...rest }, index) => ({
      ...rest,
      records: records.flatMap((record) =>
        record.type === 'delivered' && record.id === `id-${index}` ? [record, record] : [record],
      ),
    }),
  },
  'a stale owner whose ack is accepted': {
    seenAs: { staleAccepted: 1 },
    violate: ({ records, ...rest }, index) => ({
      ...rest,
      records: records.flatMap((record): ChaosRecord[] =>
        record.type === 'settled' && record.id === `id-${index}`
          ? [{ type: 'delivered', id: record.id, consumer: 'the next owner', at: record.at }, record]
          : [record],
      ),
    }),
  },
  'an attempt beyond the limit': {
    seenAs: { overAttempted: 1 },
    violate: ({ records, ...rest }, index) => ({
      ...rest,
      records: records.map((record) =>
        record.type === 'began' && record.job === `job-${index}` ? { ...record, attempt: MAX_ATTEMPTS + 1 } : record,
      ),
    }),
  },
  'a dead letter that is not expected': {
    seenAs: { wrongDeadLetters: 1 },
    violate: ({ finalState, ...rest }, index) => ({
      ...rest,
      finalState: { ...finalState, dead: [...finalState.dead, `job-${index}`] },
    }),
  },
  'a job that must be dead and is no dead letter': {
    seenAs: { missingDeadLetters: 1 },
    violate: ({ mustBeDead, ...rest }, index) => ({ ...rest, mustBeDead: new Set([...mustBeDead, `job-${index}`]) }),
  },
  'data that changed between submit and run': {
    seenAs: { corrupted: 1 },
    violate: ({ records, ...rest }, index) => ({
      ...rest,
      records: records.map((record) =>
        record.type === 'began' && record.job === `job-${index}` ? { ...record, hash: 'another' } : record,
      ),
    }),
  },
  'a submit that never settles': {
    seenAs: { unsettled: 1, acknowledged: -1 },
    violate: ({ records, ...rest }, index) => ({
      ...rest,
      records: records.filter((record) => !(record.type === 'answered' && record.job === `job-${index}`)),
    }),
  },
}

function runAgain(index: number, consumer: string): ChaosRecord[] {
  const [job, id, hash, pid, at] = [`job-${index}`, `id-${index}`, `hash-${index}`, 7, 1e6]
  return [
    { type: 'delivered', id, consumer, at },
    { type: 'began', job, id, hash, attempt: 1, pid, at },
    { type: 'ended', job, id, ok: true, pid, at },
    { type: 'settled', id, consumer, verb: 'ack', status: 'ok', at },
  ]
}

describe('the checker reports each violation, and only that', () => {
  test.each(Object.entries(VIOLATIONS))('%s', (_name, { seenAs, violate }) => {
    fc.assert(
      fc.property(withOneDone, ({ history, job }) => {
        const [before, after] = [checkHistory(history), checkHistory(violate(history, job))]
        const differences = Object.fromEntries(
          Object.entries(after)
            .map(([figure, count]) => [figure, count - (Reflect.get(before, figure) ?? 0)] as const)
            .filter(([figure, difference]) => difference !== 0 && figure !== 'recoverMs'),
        )
        expect(differences).toEqual(seenAs)
        expect(isClean(after)).toBe('duplicated' in seenAs)
      }),
    )
  })
})

test('the order of jobs does not change the result', () => {
  fc.assert(
    fc.property(
      fc
        .array(plan, { maxLength: 20 })
        .chain((plans) => fc.tuple(fc.constant(plans), fc.shuffledSubarray(plans, { minLength: plans.length }))),
      ([plans, shuffled]) => {
        const { recoverMs: _, ...result } = checkHistory(historyOf(plans))
        const { recoverMs: __, ...again } = checkHistory(historyOf(shuffled))
        expect(again).toEqual(result)
      },
    ),
  )
})

test('the recovery time is from the kill to the next run of an interrupted job', () => {
  const { records, finalState, mustBeDead } = historyOf([
    { answer: 'stored', runs: ['died', 'done'], end: 'done' },
    { answer: 'stored', runs: ['done'], end: 'done' },
  ])
  const slow = records.map((record) => (record.at > 4 ? { ...record, at: record.at + 300 } : record))
  expect(checkHistory({ records: slow, finalState, mustBeDead }).recoverMs).toBe(302)
})

test.each([
  ['long before', 5, 0],
  ['just before', 3_009, 1],
  ['after', 3_011, 1],
])(
  'a stale ack with a second owner that records its delivery last and asked %s the delivery to the first',
  (_, askedAt, stale) => {
    const of = { job: 'job', id: 'id', pid: 1 }
    const records: readonly ChaosRecord[] = [
      { type: 'submitted', ...of, hash: 'hash', at: 1 },
      { type: 'answered', ...of, status: 'stored', at: 2 },
      { type: 'delivered', ...of, consumer: 'one', askedAt: 3_005, at: 3_010 },
      { type: 'began', ...of, hash: 'hash', attempt: 1, at: 3_011 },
      { type: 'delivered', ...of, consumer: 'other', askedAt, at: 3_012 },
      { type: 'ended', ...of, ok: true, at: 3_013 },
      { type: 'settled', ...of, consumer: 'one', verb: 'ack', status: 'ok', at: 3_014 },
    ]
    expect(check(records, { waiting: [], dead: [] }, {}).staleAccepted).toBe(stale)
  },
)
