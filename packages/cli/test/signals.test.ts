import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { bin, errorsOf, makeProject, run, startZyqueue, until, type Project } from './project.ts'

/** Sends SIGTERM to its own process as soon as the condition holds. */
const SIGNAL = (condition: string): string => `
const poll = () => (${condition}) ? process.kill(process.pid, 'SIGTERM') : setImmediate(poll)
if (!process.channel) poll()`

const LOADS = 'loads'
/** Sends SIGTERM when the program begins to load its commands. */
const SIGNAL_AT_LOAD = `import { register } from 'node:module'
if (!process.channel) register('./hook.mjs', import.meta.url)`
const HOOK = `export function resolve(specifier, context, next) {
  if (specifier === './main.js') process.kill(process.pid, 'SIGTERM')
  return next(specifier, context)
}`

const TASKS = `import { writeFileSync } from 'node:fs'
import { queueJob } from '@zyqueue/core'
writeFileSync('loaded', '')
export const t = queueJob({}, async function t() {})`

async function projectWith(condition: string): Promise<Project> {
  return makeProject({
    manifest: { type: 'module' },
    files: {
      'signal.mjs': condition === LOADS ? SIGNAL_AT_LOAD : SIGNAL(condition),
      'hook.mjs': HOOK,
      'tasks.ts': TASKS,
      'tasks.mjs': TASKS,
    },
  })
}

const COMPILES = `process.title === 'zyqueue: work'`

test.each([
  ['while the program is loaded', LOADS, 'tasks.mjs'],
  ['while the task file is compiled', COMPILES, 'tasks.ts'],
  ['while the task file is compiled for --watch', COMPILES, 'tasks.ts', '--watch'],
])('SIGTERM %s ends work with 0, and no worker starts', async (_, condition, file, ...more) => {
  const project = await projectWith(condition)
  const args = ['--import', './signal.mjs', bin, 'work', '-f', file, '--json', ...more]
  const { code, stdout, stderr } = await run(args, { cwd: project.dir })
  expect({ code, stdout }).toEqual({ code: 0, stdout: '{"reason":"drained"}\n' })
  expect(stderr).toContain('no worker was running')
  expect(existsSync(project.path('loaded'))).toBe(false)
})

test('SIGTERM while another command is loaded ends it with 143', async () => {
  const project = await projectWith(LOADS)
  expect(await run(['--import', './signal.mjs', bin, 'brokers'], { cwd: project.dir })).toMatchObject({ code: 143 })
})

/** Runs a command as process 1, as the first process of a container is. */
const AS_PROCESS_1 = ['unshare', '--user', '--map-root-user', '--pid', '--fork', '--mount-proc', '--kill-child']
const isPossible = spawnSync(AS_PROCESS_1[0] ?? '', [...AS_PROCESS_1.slice(1), 'true']).status === 0

test.runIf(isPossible)(
  'as process 1, work warns about an init process, and SIGTERM during the start ends it',
  async () => {
    const project = await projectWith(LOADS)
    const command = [...AS_PROCESS_1, process.execPath, '--import', './signal.mjs', bin, 'work', '-f', 'tasks.mjs']
    const [file = '', ...args] = command
    const { status, stderr } = spawnSync(file, args, { cwd: project.dir, encoding: 'utf8', timeout: 120_000 })
    expect(stderr).toContain('docker run --init')
    expect(status).toBe(0)
    expect(existsSync(project.path('loaded'))).toBe(false)
  },
)

test('a signal that comes twice at once, as by Ctrl+C under npx, counts once', async () => {
  const slow = `import { existsSync, writeFileSync } from 'node:fs'
import { queueJob } from '@zyqueue/core'
export const slow = queueJob({}, async function slow() {
  writeFileSync('started', '')
  while (!existsSync('go')) await new Promise((wake) => setTimeout(wake, 10))
  writeFileSync('finished', '')
})`
  // npx passes a signal on when it receives it.
  const twice = `if (!process.channel) process.once('SIGINT', () => process.kill(process.pid, 'SIGINT'))`
  const files = { 'tasks.mjs': slow, 'twice.mjs': twice }
  const project = await makeProject({ manifest: { type: 'module' }, files })
  const submit = await run([bin, 'submit', 'slow', 'null'], { cwd: project.dir })
  expect(submit.code).toBe(0)
  const { child, ended } = startZyqueue(['work', '-f', 'tasks.mjs', '-w', '1', '--json'], {
    cwd: project.dir,
    env: { NODE_OPTIONS: '--import ./twice.mjs' },
  })
  const errors = errorsOf(child)
  await until('the job', () => existsSync(project.path('started')) || undefined)
  child.kill('SIGINT')
  await until('the drain', () => errors().includes('finishing the running jobs') || undefined)
  await writeFile(project.path('go'), '')
  expect(await ended).toMatchObject({ code: 0, stdout: '{"reason":"drained"}\n' })
  expect(existsSync(project.path('finished'))).toBe(true)
})
