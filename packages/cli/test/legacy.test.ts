import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fromLegacy, quote } from '../src/legacy.ts'
import { UsageError } from '../src/usage-error.ts'

test.each([
  ['--max_workers 1 --task_file tasks.ts', 'work --task-file tasks.ts --max-workers 1'],
  ['--task_file=tasks.ts --debug', 'work --task-file tasks.ts --log-level debug'],
  ['-S gearman -C localhost:4730 --status', 'status --server gearman --connection localhost:4730'],
  ['-S redis -C redis://h --workers', 'workers --server redis --connection redis://h'],
  ['--server gearman --connection h:1 --gmversion', 'doctor --server gearman --connection h:1'],
  ['-S redis --queues', 'status --server redis'],
  ['-S redis --queue high', 'status high --server redis'],
  ['-S redis --status --queue high --queue low', 'status high low --server redis'],
  ['-S redis --empty_queue high', 'purge high --yes --server redis'],
  ['-S redis --queue high --empty_queue high', 'purge high --yes --server redis'],
  ['-S redis --requeue_all', 'dead retry --all --server redis'],
  ['-S redis --jobs high', 'jobs high --server redis'],
  ['-S redis --cancel_job 17', 'cancel 17 --server redis'],
  ['-S redis --queue high --cancel_job 17', 'cancel 17 --server redis'],
  ['-S redis --requeue_job 17', 'dead retry --id 17 --server redis'],
  ['-S redis --compact_queue high', 'compact high --server redis'],
  ['-S gearman -C h:1 --shutdown', 'shutdown --yes --server gearman --connection h:1'],
  ['--status --json', 'status --json'],
  ['--max_workers 1 --task_file t.ts --burst', 'work --task-file t.ts --max-workers 1 --burst'],
  ['--concurrency 5 --task-file t.ts', 'work --task-file t.ts --concurrency 5'],
])('%s is %s', (before, today) => {
  expect(fromLegacy(before.split(' '))).toEqual(today.split(' '))
})

test.each([
  ['--status --workers', 'both status and workers'],
  ['--workers --queues --workers', 'both workers and status'],
  ['--cancel_job 1 --cancel_job 2', 'both cancel 1 and cancel 2'],
])('%s is refused: two actions', (line, error) => {
  expect(() => fromLegacy(line.split(' '))).toThrow(error)
})

test.each([
  [],
  ['--help'],
  ['--version'],
  ['status'],
  ['work', '--max_workers', '1'],
  ['--json', 'tasks', '--task-file', 't.ts'],
  ['--max_workers'],
  ['--status', 'x'],
])('not in the old form: %j', (...argv) => {
  expect(fromLegacy(argv)).toBeUndefined()
})

/** Also undefined if the line has two actions. */
function readable(argv: readonly string[]): readonly string[] | undefined {
  try {
    return fromLegacy(argv)
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError)
    return undefined
  }
}

const VERBS = ['work', 'status', 'workers', 'jobs', 'cancel', 'purge', 'compact', 'dead', 'doctor', 'shutdown']
const VALUES = ['task_file', 'server', 'connection', 'max_workers', 'queue', 'empty_queue'].concat(
  'jobs',
  'cancel_job',
  'requeue_job',
  'compact_queue',
)
const flag = fc.oneof(
  fc
    .constantFrom('status', 'workers', 'queues', 'requeue_all', 'gmversion', 'shutdown', 'debug')
    .map((name) => [`--${name}`]),
  fc.tuple(fc.constantFrom(...VALUES), fc.string()).map(([name, value]) => [`--${name}=${value}`]),
  fc.tuple(fc.constantFrom(...VALUES), fc.string()).map(([name, value]) => [`--${name}`, value]),
)

test('the result is always in today’s form and contains every value unchanged', () => {
  fc.assert(
    fc.property(fc.array(flag, { minLength: 1, maxLength: 6 }), fc.string(), (flags, connection) => {
      const legacy = readable([...flags.flat(), '--connection', connection])
      if (legacy === undefined) return
      expect(VERBS).toContain(legacy[0])
      expect(legacy.at(legacy.lastIndexOf('--connection') + 1)).toBe(connection)
      expect(readable(legacy)).toBeUndefined()
    }),
  )
})

test('any argument vector is accepted or refused with a UsageError', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.string(),
          flag.map((words) => words[0] ?? ''),
        ),
      ),
      (argv) => void readable(argv),
    ),
  )
})

test('a shell reads a quote command line back unchanged', () => {
  expect(quote(['purge', 'a queue', "it's", '$(x)', '--yes'])).toBe(`purge 'a queue' 'it'\\''s' '$(x)' --yes`)
})
