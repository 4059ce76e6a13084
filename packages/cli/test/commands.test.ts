import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { delimiter } from 'node:path'
import { expect, test } from 'vitest'
import { bin, makeProject, run, zyqueue } from './project.ts'

const VERBS = [
  'work',
  'submit',
  'status',
  'workers',
  'tasks',
  'jobs',
  'cancel',
  'promote',
  'purge',
  'compact',
  'dead',
].concat('brokers', 'doctor', 'limit', 'shutdown', 'gearmand', 'completion')

test.each(
  [[], ...VERBS.map((verb) => [verb]), ['dead', 'list'], ['dead', 'retry'], ['dead', 'purge']].map((words) => ({
    words,
  })),
)('zyqueue $words --help', async ({ words }) => {
  const { code, stdout, stderr } = await zyqueue([...words, '--help'], { cwd: '.' })
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toMatchSnapshot()
})

test.each([
  ['', 'a command is missing'],
  ['stauts', 'unknown command stauts; did you mean status?'],
  ['wrok -f t.js', 'unknown command wrok; did you mean work?'],
  ['wrok --burst', 'unknown command wrok; did you mean work?'],
  ['-C sqlite:x.db --json stauts', 'unknown command stauts; did you mean status?'],
  ['foo bar', 'unknown command foo\n'],
  ['--yosn', 'unknown argument --yosn; did you mean --json?'],
  ['work', '--task-file is missing'],
  ['work --tsak-file t.ts', 'unknown argument --tsak-file; did you mean --task-file?'],
  ['work --task-file none.ts', 'none.ts does not exist'],
  ['work --task-file package.json', 'not a TypeScript or JavaScript file'],
  ['work --task-file t.js --max-workers none', '"none" is not a whole number from 1 to 1024'],
  ['work --task-file t.js --grace-period 3x', '"3x" is not a duration'],
  ['work --task-file t.js --max-memory-per-worker lots', '"lots" is not a size'],
  ['work t.ts', 'Did you mean --task-file t.ts?'],
  ['work --task-file t.js --max-workers 5000', '--max-workers: "5000" is not a whole number from 1 to 1024'],
  ['work --task-file t.js --lease 30d', '--lease: "30d" is more than 24 days'],
  ['work --task-file t.js --log-level loud', '--log-level: "loud" is not one of debug, info, warn, error, silent'],
  ['work --task-file t.js --concurrency 1 --concurrency 2', '--concurrency: expected one value'],
  ['status --connection=', '--connection: the value is empty'],
  ['work -f t.js --queues ,', '--queues: the value is empty'],
  ['dead retry --id ,', '--id: the value is empty'],
  ['submit t []', 'the list is empty'],
  ['submit t 1 --expires 0s', '--expires: "0s" is less than 1 ms'],
  ['submit t 1 --delay 9999d', '--delay: "9999d" is more than 3650 days'],
  ['status --yosn', 'unknown argument --yosn; did you mean --json?'],
  ['purge', 'the argument <queue> is missing'],
  ['submit', 'the argument <task> is missing'],
  ['limit', 'the argument <queue> is missing'],
  ['limit q', 'the argument <jobs> is missing'],
  ['limit -C redis://h q', 'the argument <jobs> is missing'],
  ['purge q', 'standard input is no terminal on which to confirm it'],
  ['dead', 'a command is missing: list, show, retry or purge'],
  ['dead retrry', 'unknown command retrry; did you mean retry?'],
  ['dead prge q', 'unknown command prge; did you mean purge?'],
  ['dead retry', 'Name a queue, or pass --all'],
  ['dead purge q', 'Add --yes'],
  ['dead purge q --all', 'Leave out the queue or --all'],
  ['dead retry q --id 1', 'Leave out the queue and --all'],
  ['cancel', 'the argument <ids..> is missing'],
  ['promote', 'the argument <ids..> is missing'],
  ['jobs q --limit none', '"none" is not a whole number'],
  ['submit t {bad', 'the data is not JSON'],
  ['submit t 1 --priority 12', '--priority: "12" is not low, normal, high or a whole number from 0 to 9'],
  ['submit t 1 --priority urgent', '"urgent" is not low, normal, high or'],
  ['submit t 1 --queue q --task-file t.js', '--queue and --task-file cannot be combined'],
  ['submit t', 'standard input is empty'],
])('usage: zyqueue %s', async (line, message) => {
  const project = await makeProject({ files: {} })
  const words = line.split(' ').filter((word) => word !== '')
  const { code, stdout, stderr } = await zyqueue(words, { cwd: project.dir })
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  expect(stderr).toContain(message)

  const asJson = await zyqueue([...words, '--json'], { cwd: project.dir })
  expect(asJson.code).toBe(2)
  expect(JSON.parse(asJson.stderr)).toMatchObject({ error: { code: 'ZYQ_CONFIG', message: expect.any(String) } })
})

test('the value of a short option may follow without a space', async () => {
  const project = await makeProject({ files: {} })
  const submit = await zyqueue(['submit', '-Ssqlite', '-Csqlite:x.db', 't', '1', '-qmail', '--json'], {
    cwd: project.dir,
  })
  expect(JSON.parse(submit.stdout)).toMatchObject({ queue: 'mail' })
  const status = await zyqueue(['-Csqlite:x.db', '--status', '--json'], { cwd: project.dir })
  expect(JSON.parse(status.stdout)).toMatchObject({ queues: [{ name: 'mail', ready: 1 }] })
})

test('errors do not repeat the secrets of a connection string', async () => {
  const { stderr } = await zyqueue(['-C', 'redis://user:pass@h', '--status', '--foo'], { cwd: '.' })
  const { stderr: legacy } = await zyqueue(['-C', 'none://user:pass@h', '--status'], { cwd: '.' })
  const { stderr: spaced } = await zyqueue(['-C', 'user:my pass@h', '--status'], { cwd: '.' })
  expect(`${stderr}${legacy}${spaced}`).not.toContain('pass')
  expect(legacy).toMatch(
    /^zyqueue: old arguments; the command is now: zyqueue status --connection 'none:\/\/\*\*\*@h'\n/,
  )
})

test('completion in bash', async () => {
  const project = await makeProject({ files: { 'complete.bash': COMPLETE } })
  await writeFile(project.path('zyqueue'), `#!/bin/sh\nexec '${process.execPath}' '${bin}' "$@"\n`, { mode: 0o755 })
  const env = { SHELL: '/bin/bash', PATH: `${project.dir}${delimiter}${process.env['PATH']}` }
  const { stdout, stderr } = await run(['complete.bash'], { node: 'bash', cwd: project.dir, env })
  expect(stderr).toBe('')
  expect(stdout.split('\n')).toEqual([
    'status',
    '--max-workers --max-jobs-per-worker --max-memory-per-worker',
    'list show retry purge',
    'debug info warn error silent',
    // Names of files, which bash completes itself.
    '',
    '',
  ])
})

const COMPLETE = `
source <(zyqueue completion)
complete_words() { COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); COMPREPLY=(); _zyqueue_yargs_completions; echo "\${COMPREPLY[*]}"; }
complete_words zyqueue stat
complete_words zyqueue work --max
complete_words zyqueue dead ''
complete_words zyqueue work --log-level ''
complete_words zyqueue work --task-file ''
`

test.runIf(existsSync('/dev/full'))('a full disk is an error', async () => {
  const project = await makeProject({ files: {} })
  const line = `'${process.execPath}' '${bin}' brokers > /dev/full`
  const { code, stderr } = await run(['-c', line], { node: 'sh', cwd: project.dir })
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining('cannot write to standard output') })
})
