/** Tests of the built harness, because it starts its files as processes. */
import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Entry, Goal, Target } from '../dist/bench.js'
import { CASES, median, type Scale } from '../dist/cases.js'
import { sqlite } from '../dist/sqlite/bench.js'
import { runSuite, type Outcome } from '../dist/suite.js'
import { missed, table } from '../dist/table.js'

const SCALE: Scale = { rounds: 2, ms: 40, workShare: 0.01, pings: 5, backlogs: [3_000, 1_000], stored: 100 }

const raw = sqlite.contestants.filter(({ name }) => name === 'raw')

describe('a suite', () => {
  test('measures a contestant in every case and leaves no files behind', async () => {
    const targets: Target[] = []
    const newTarget = async (): Promise<Target> => {
      const target = await sqlite.newTarget()
      targets.push(target)
      return target
    }
    const everything = raw.map(({ without: _, ...entry }) => entry)
    const notes: string[] = []
    const outcome = await runSuite(
      { ...sqlite, contestants: everything, newTarget },
      { cases: CASES.map(({ name }) => name), scale: SCALE, onNote: (line) => notes.push(line) },
    )
    expect(outcome.cases.map(({ name, limits }) => [name, typeof limits['raw']])).toEqual(
      ['submit', 'submitMany', 'work', 'latency', 'backlog'].map((name) => [name, 'number']),
    )
    expect(notes.filter((line) => line.includes('failed'))).toEqual([])
    expect(targets.filter(({ address }) => existsSync(dirname(address.slice('sqlite:'.length))))).toEqual([])
  })

  test('continues if a contestant fails', async () => {
    const broken: Entry = { name: 'zyqueue', kind: 'ours', module: '/no/such/module.js', workBacklog: 1 }
    const notes: string[] = []
    const outcome = await runSuite(
      { ...sqlite, contestants: [broken, ...raw] },
      { cases: ['submit'], scale: { ...SCALE, rounds: 1 }, onNote: (line) => notes.push(line) },
    )
    expect(outcome.cases[0]?.ours).toBeNull()
    expect(outcome.cases[0]?.limits['raw']).toBeGreaterThan(0)
    expect(notes[0]).toContain('/no/such/module.js')
  })
})

describe('the goals', () => {
  const outcome = (work: number): Outcome => ({
    broker: 'sqlite',
    node: 'v20.0.0',
    cpus: 2,
    date: '2026-11-01T00:00:00.000Z',
    cases: [{ name: 'work', unit: 'jobs/s', ours: work, peers: { slow: 10, quick: 9_000 }, limits: {}, cpu: {} }],
  })

  test('are compared with the best peer', () => {
    expect(missed(outcome(44_000), sqlite).map(({ text }) => text)).toEqual(['work: at least 5 times the best peer'])
    expect(missed(outcome(46_000), sqlite)).toEqual([])
  })

  test('may use single peers and CPU times', () => {
    const goal = (text: string, reached: Goal['reached']): Goal => ({ case: 'work', text, reached })
    const targets = [
      goal('slow', (ours, _best, { peers }) => ours >= 5 * (peers['slow'] ?? 0)),
      goal('CPU', (_ours, _best, { cpu }) => cpu['zyqueue'] !== undefined),
    ]
    expect(missed(outcome(44_000), { targets }).map(({ text }) => text)).toEqual(['CPU'])
  })

  test('are printed below the figures and ratios', () => {
    const text = table(outcome(44_000), sqlite.targets)
    expect(text).toMatch(/quick +9,000 +jobs\/s +0\.54 M +4\.89 x as fast/)
    expect(text).toContain('missed   work: at least 5 times the best peer')
    expect(text).toContain('not run  latency')
  })
})

test.each([
  [[3], 3],
  [[4, 1, 2], 2],
  [[4, 1, 2, 3], 2.5],
])('the median of %j is %d', (values, expected) => {
  expect(median(values)).toBe(expected)
})
