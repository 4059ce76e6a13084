import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { makeProject, zyqueue, type Project } from './project.ts'

/**
 * A fake core in the project's node_modules: `work` must run this one, not the core that came with the CLI. It prints the
 * options that it gets.
 */
const RECORDING_CORE = {
  'node_modules/@zyqueue/core/package.json': `{ "name": "@zyqueue/core", "type": "module", "exports": { "./supervisor": "./supervisor.js" } }`,
  'node_modules/@zyqueue/core/supervisor.js': `import { appendFileSync } from 'node:fs'
const record = (call, value) => appendFileSync('calls.ndjson', JSON.stringify({ call, value }) + '\\n')
export function createSupervisor({ logger, loader, ...options }) {
  record('create', { ...options, files: Object.keys(loader?.data.files ?? {}) })
  return { run: async () => (record('run'), { reason: 'burst' }), drain() {}, stop() {}, reload() {} }
}`,
}

async function projectWith(files: Readonly<Record<string, string>>): Promise<Project> {
  return makeProject({
    manifest: { type: 'module' },
    files: { ...RECORDING_CORE, ...files },
    link: { '@zyqueue/core': false },
  })
}

interface Call {
  readonly call: string
  readonly value: unknown
}

async function calls(project: Project): Promise<readonly Call[]> {
  const text = await readFile(project.path('calls.ndjson'), 'utf8').catch(() => '')
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line): Call => JSON.parse(line))
}

test('every option reaches the supervisor of the project’s own core', async () => {
  const project = await projectWith({ 'tasks.ts': `import './more'`, 'more.ts': 'enum A { B }\nconsole.log(A.B)' })
  const options =
    '--max-workers 3 --concurrency 4 --prefetch 5 --queues a,b --burst --grace-period 1.5s --lease 1m ' +
    '--max-jobs-per-worker 6 --max-memory-per-worker 512MB -S redis -C redis://user:pass@h --json'
  const { code, stdout, stderr } = await zyqueue(['work', '-f', 'tasks.ts', ...options.split(' ')], {
    cwd: project.dir,
  })

  expect({ code, stdout }).toEqual({ code: 0, stdout: '{"reason":"burst"}\n' })
  expect(await calls(project)).toEqual([
    {
      call: 'create',
      value: {
        taskFile: project.path('tasks.ts'),
        files: [`file://${project.path('tasks.ts')}`, `file://${project.path('more.ts')}`],
        resolveFrom: [expect.stringMatching(/dist$/)],
        maxWorkers: 3,
        concurrency: 4,
        prefetch: 5,
        queues: ['a', 'b'],
        burst: true,
        graceMs: 1500,
        leaseMs: 60_000,
        maxJobsPerWorker: 6,
        maxMemoryPerWorker: 536_870_912,
        server: 'redis',
        connection: 'redis://user:pass@h',
        workerLog: { level: 'info', format: 'json' },
      },
    },
    { call: 'run' },
  ])
  expect(JSON.parse(stderr)).toMatchObject({ taskFile: 'tasks.ts', msg: 'starting' })
})

test.each([
  ['package-lock.json', 'npm install @zyqueue/core@latest'],
  ['pnpm-lock.yaml', 'pnpm add @zyqueue/core@latest'],
])('if the project has no core, the error has the install command that fits its %s', async (lockFile, command) => {
  const project = await makeProject({ files: { 'tasks.ts': '', [lockFile]: '' }, link: { '@zyqueue/core': false } })
  const { code, stderr } = await zyqueue(['work', '-f', 'tasks.ts', '--json'], { cwd: project.dir })
  expect(code).toBe(1)
  expect(JSON.parse(stderr).error).toMatchObject({ code: 'ZYQ_TASK_FILE', message: expect.stringContaining(command) })
})
