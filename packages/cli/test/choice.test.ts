import { existsSync } from 'node:fs'
import { expect, test } from 'vitest'
import { makeProject, zyqueue, type Ended, type Project } from './project.ts'

const tasks = `import { queueJob } from '@zyqueue/core'
export const t = queueJob({ name: 't' }, () => {})`

const commands: readonly (readonly [string, readonly string[]])[] = [
  ['submit', ['submit', 't', '1']],
  ['submit with a task file', ['submit', 't', '1', '-f', 'tasks.mjs']],
  ['status', ['status']],
  ['status as the original had it', ['--status']],
  ['doctor', ['doctor']],
  ['work', ['work', '-f', 'tasks.mjs', '--burst', '-w', '1']],
]

/** `ZYQUEUE_CONNECTION` and `-S sqlite`. */
async function withServer(project: Project, command: readonly string[], connection: string): Promise<Ended> {
  const env = { ZYQUEUE_CONNECTION: connection }
  return zyqueue([...command, '-S', 'sqlite'], { cwd: project.dir, env })
}

test.each(commands)(
  '%s: -S takes the connection of the environment, if it names the same server',
  async (_, command) => {
    const project = await makeProject({ files: { 'tasks.mjs': tasks } })
    const stored = await zyqueue(['submit', 't', '1', '-C', 'sqlite:elsewhere.db'], { cwd: project.dir })
    expect(stored.code).toBe(0)
    expect(await withServer(project, command, 'sqlite:elsewhere.db')).toMatchObject({ code: 0 })
    expect(existsSync(project.path('.zyqueue'))).toBe(false)
    const status = await zyqueue(['status', '--json', '-C', 'sqlite:elsewhere.db'], { cwd: project.dir })
    const ready = command[0] === 'work' ? 0 : command[0] === 'submit' ? 2 : 1
    expect(JSON.parse(status.stdout).queues).toMatchObject([{ ready }])
  },
)

test.each(commands)('%s: -S that contradicts the environment is refused', async (_, command) => {
  const project = await makeProject({ files: { 'tasks.mjs': tasks } })
  const { code, stdout, stderr } = await withServer(project, command, 'redis://:s3cr3t@redis.example')
  expect(code).not.toBe(0)
  const said = stdout + stderr
  expect(said).toMatch(/server sqlite contradicts the connection in ZYQUEUE_CONNECTION or -C, which begins with redis:/)
  expect(said).toMatch(/Give a connection of sqlite too \(`connection`, -C\), leave the server out/)
  expect(said).not.toMatch(/s3cr3t|Submitted/)
  expect(existsSync(project.path('.zyqueue'))).toBe(false)
})
