import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { bin, makeProject, NODES, run, zyqueue } from './project.ts'

/** Runs a program in a terminal, types when it asks, and prints its output and exit code. */
const AT_TERMINAL = `
import os, pty, signal, sys
typed, program = sys.argv[1], sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(program[0], program)
signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
signal.alarm(300)
shown, asked = b'', False
while True:
    try:
        chunk = os.read(terminal, 1024)
    except OSError:
        chunk = b''
    if not chunk:
        break
    shown += chunk
    if not asked and b'[y/N] ' in shown:
        asked = True
        os.write(terminal, typed.encode())
print(shown.decode())
print('exit code', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`

const python = spawnSync('python3', ['--version']).status === 0 ? 'python3' : undefined

test.runIf(python).each(
  NODES.flatMap((node) =>
    [
      { keys: 'y and Enter', typed: 'y\r', code: 0, says: 'Deleted 1 job from mail.' },
      { keys: 'Enter', typed: '\r', code: 1, says: 'Cancelled; nothing was changed.' },
      { keys: 'Ctrl+C', typed: '\u0003', code: 1, says: 'Cancelled; nothing was changed.' },
      { keys: 'Ctrl+D', typed: '\u0004', code: 1, says: 'Cancelled; nothing was changed.' },
    ].map((answer) => ({ node, ...answer })),
  ),
)('at a terminal purge asks; $keys ends with $code ($node)', async ({ node, typed, code, says }) => {
  const { dir } = await makeProject({ files: { 'terminal.py': AT_TERMINAL } })
  await zyqueue(['submit', 'mail', '1'], { cwd: dir })
  const { stdout, stderr } = await run(['terminal.py', typed, node, bin, 'purge', 'mail'], {
    node: python ?? '',
    cwd: dir,
  })
  expect(stderr).toBe('')
  expect(stdout).toContain('Delete all waiting and delayed jobs of "mail"? [y/N] ')
  expect(stdout).toContain(says)
  expect(stdout).toMatch(new RegExp(`exit code ${code}\n$`))
})
