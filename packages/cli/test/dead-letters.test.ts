import { expect, test } from 'vitest'
import { makeProject, zyqueue } from './project.ts'

const TASKS = `import { queueJob } from '@zyqueue/core'
export const charge = queueJob({ retries: 0 }, function charge() {
  throw Object.assign(new Error('The bank answered 500\\u001b[31m', { cause: new Error('socket hang up') }), { code: 'E_BANK' })
})
`

test('dead list fits 80 columns, and dead show prints one dead letter in full, also as JSON', async () => {
  const project = await makeProject({ files: { 'tasks.mjs': TASKS } })
  const ask = async (...args: string[]) => zyqueue(args, { cwd: project.dir })
  await ask('submit', 'charge', JSON.stringify({ card: 'x'.repeat(300) }))
  await ask('work', '-f', 'tasks.mjs', '-w', '1', '--burst')

  const { stdout } = await ask('dead', 'list')
  for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80)
  const [id = ''] = /[0-9a-z]{28}/.exec(stdout) ?? []
  expect(stdout).toContain('Error: The bank answ')

  const shown = await ask('dead', 'show', '--id', id)
  expect(shown.code).toBe(0)
  expect(shown.stdout).not.toContain('\u001b')
  for (const part of [
    /^id: +[0-9a-z]{28}$/m,
    /^queue: +charge$/m,
    /^task: +charge$/m,
    /^died: +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$/m,
    /^attempts: +1$/m,
    /^reason: +ZYQ_JOB_FAILED: Error: The bank answered 500/m,
    /^ +at .*tasks\.mjs/m,
    /^ +code: E_BANK$/m,
    /^cause: Error: socket hang up$/m,
    /^ {2}"card": "x{300}"$/m,
  ]) {
    expect(shown.stdout).toMatch(part)
  }
  const document: unknown = JSON.parse((await ask('dead', 'show', 'charge', '--id', id, '--json')).stdout)
  expect(document).toMatchObject({
    queue: 'charge',
    id,
    task: 'charge',
    attempts: 1,
    error: { code: 'E_BANK', stack: expect.stringContaining('tasks.mjs'), cause: { message: 'socket hang up' } },
    data: { card: 'x'.repeat(300) },
  })
  expect(document).not.toHaveProperty(['headers', 'zyq-failure'])

  expect(await ask('dead', 'show', '--id', 'gone')).toMatchObject({ code: 4, stdout: '' })
  expect((await ask('dead', 'retry', 'charge')).stdout).toBe('1 dead letter put back.\n')
})
