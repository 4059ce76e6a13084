import { expect, test } from 'vitest'
import { makeProject, zyqueue } from './project.ts'

/** Bad input to every command: the error has a code, the exit code is the documented one, and nothing is stored. */
const TASKS = {
  'tasks.mjs': `import { queueJob } from '@zyqueue/core'
export const resize = queueJob({ data: { '~standard': { version: 1, vendor: 'test', validate: (value) =>
  typeof value === 'object' && 'file' in value ? { value } : { issues: [{ message: 'expected a file', path: ['file'] }] } } } },
  async function resize() {})`,
  'twice.mjs': `import { queueJob } from '@zyqueue/core'
queueJob({}, function same() {})
queueJob({ name: 'same' }, function other() {})`,
  'nameless.mjs': `import { queueJob } from '@zyqueue/core'
queueJob({}, () => {})`,
  'spaced.mjs': `import { queueJob } from '@zyqueue/core'
queueJob({ queue: 'two words' }, function spaced() {})`,
  'throws.mjs': `throw new Error('an error of the task file')`,
  'submits.mjs': `import { queueJob } from '@zyqueue/core'
export const submits = queueJob({}, function submits() {})
await submits.submit(1)`,
  'nothing.mjs': `export const nothing = 1`,
  'broken.mjs': `export const = `,
  'odd.mjs': `import { queueJob } from '@zyqueue/core'
queueJob({ retries: -1 }, function odd() {})`,
  'unsupported.mjs': `import { queueJob } from '@zyqueue/core'
queueJob({ exchange: 'e' }, function unsupported() {})`,
}

test.each<[door: string, words: readonly string[], exit: number, code: string]>([
  ['two tasks of one name', ['work', '-f', 'twice.mjs'], 1, 'ZYQ_TASK_DUPLICATE'],
  ['a task without a name', ['work', '-f', 'nameless.mjs'], 2, 'ZYQ_TASK_NAME'],
  ['a task whose queue has a space', ['work', '-f', 'spaced.mjs'], 2, 'ZYQ_QUEUE_NAME'],
  ['a task file that throws', ['work', '-f', 'throws.mjs'], 1, 'ZYQ_TASK_FILE'],
  ['a task file that defines nothing', ['work', '-f', 'nothing.mjs'], 1, 'ZYQ_TASK_FILE'],
  ['a task file that submits while it is loaded', ['submit', 'submits', '1', '-f', 'submits.mjs'], 1, 'ZYQ_TASK_FILE'],
  ['a task file that is no JavaScript', ['work', '-f', 'broken.mjs'], 1, 'ZYQ_TASK_FILE'],
  ['an option with an odd value', ['work', '-f', 'odd.mjs'], 2, 'ZYQ_CONFIG'],
  ['an option that the broker does not know', ['work', '-f', 'unsupported.mjs'], 5, 'ZYQ_UNSUPPORTED'],
  ['a queue that no task has', ['work', '-f', 'tasks.mjs', '--queues', 'none'], 2, 'ZYQ_CONFIG'],
  ['data that does not fit', ['submit', 'resize', '{"size":1}', '-f', 'tasks.mjs'], 1, 'ZYQ_VALIDATION'],
  ['data that is no JSON', ['submit', 'resize', '{"file":', '-f', 'tasks.mjs'], 2, 'ZYQ_CONFIG'],
  ['a task that the file does not define', ['submit', 'none', '1', '-f', 'tasks.mjs'], 4, 'ZYQ_TASK_UNKNOWN'],
  ['a task name with a space', ['submit', 'two words', '1'], 2, 'ZYQ_TASK_NAME'],
  ['a task name of 10,000 characters', ['submit', 'x'.repeat(10_000), '1'], 2, 'ZYQ_TASK_NAME'],
  ['a queue with a space', ['submit', 'resize', '1', '--queue', 'two words'], 2, 'ZYQ_QUEUE_NAME'],
  ['a queue of 10,000 characters', ['submit', 'resize', '1', '--queue', 'x'.repeat(10_000)], 2, 'ZYQ_QUEUE_NAME'],
  ['a queue that is empty', ['submit', 'resize', '1', '--queue', ''], 2, 'ZYQ_CONFIG'],
  ['a queue with a control character', ['submit', 'resize', '1', '--queue', 'a\u0007b'], 2, 'ZYQ_QUEUE_NAME'],
  ['a queue file that is not there', ['status'], 4, 'ZYQ_STORAGE_NOT_FOUND'],
  ['a connection of an unknown scheme', ['status', '-C', 'carrier-pigeon://coop'], 2, 'ZYQ_CONNECTION_STRING'],
  ['a connection without a scheme', ['status', '-C', 'localhost'], 2, 'ZYQ_CONNECTION_STRING'],
  ['a connection to a folder', ['status', '-C', 'sqlite:.'], 3, 'ZYQ_UNREACHABLE'],
  ['a connection to a file that is no queue', ['status', '-C', 'sqlite:tasks.mjs'], 1, 'ZYQ_STORAGE_FOREIGN'],
  ['a broker that is not installed', ['status', '-S', 'pigeon'], 4, 'ZYQ_BROKER_NOT_FOUND'],
  ['a broker that is none', ['status', '-S', './nothing.mjs'], 1, 'ZYQ_BROKER_EXPORTS'],
  ['a broker that throws', ['status', '-S', './throws.mjs'], 1, 'ZYQ_BROKER_LOAD'],
])('%s', async (_door, words, exit, code) => {
  const project = await makeProject({ files: TASKS })
  const { code: ended, stdout, stderr } = await zyqueue([...words, '--json'], { cwd: project.dir })
  const document: unknown = JSON.parse(stderr.trim().split('\n').at(-1) ?? '')
  expect({ ended, stdout, document }).toMatchObject({ ended: exit, stdout: '', document: { error: { code } } })
  if (words.includes('-C')) return
  const { code: looked, stdout: status } = await zyqueue(['status', '--json'], { cwd: project.dir })
  if (looked === 4) return // The queue file does not exist.
  const { queues }: { queues: { ready?: number; delayed?: number }[] } = JSON.parse(status)
  expect(queues.filter(({ ready, delayed }) => ready !== 0 || delayed !== 0)).toEqual([])
})

test.each([
  ['a queue that does not exist', ['purge', 'none', '--yes'], 'ZYQ_QUEUE_NOT_FOUND'],
  ['a job that does not exist', ['cancel', 'none'], 'ZYQ_JOB_NOT_FOUND'],
])('%s, in an existing queue file', async (_door, words, code) => {
  const project = await makeProject({ files: TASKS })
  await zyqueue(['submit', 'resize', '1'], { cwd: project.dir })
  const { code: ended, stderr } = await zyqueue([...words, '--json'], { cwd: project.dir })
  expect({ ended, document: JSON.parse(stderr) }).toMatchObject({ ended: 4, document: { error: { code } } })
})
