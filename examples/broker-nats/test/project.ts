import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

const here = fileURLToPath(new URL('..', import.meta.url))
const zyqueue = join(createRequire(import.meta.url).resolve('@zyqueue/cli/package.json'), '../dist/bin.js')

export interface Project {
  readonly dir: string
  /** Starts the `zyqueue` command and kills it when the test ends. */
  start(...words: readonly string[]): { readonly child: ChildProcess; readonly ended: Promise<Ended> }
}

interface Ended {
  readonly code: number | null
  readonly stderr: string
}

/** A user's project in a temporary folder, with this broker among its dependencies. */
export function makeProject(taskFile: string, url: string): Project {
  const dir = mkdtempSync(join(tmpdir(), 'zyqueue-example-nats-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }))
  mkdirSync(join(dir, 'node_modules'))
  symlinkSync(here, join(dir, 'node_modules/zyqueue-broker-nats'))
  symlinkSync(join(here, 'node_modules/@zyqueue'), join(dir, 'node_modules/@zyqueue'))
  const dependencies = { 'zyqueue-broker-nats': '*', '@zyqueue/core': '*' }
  writeFileSync(join(dir, 'package.json'), JSON.stringify({ type: 'module', dependencies }))
  writeFileSync(join(dir, 'tasks.ts'), taskFile)
  return {
    dir,
    start(...words) {
      const env = { ...process.env, NATS_URL: url }
      const child = spawn(process.execPath, [zyqueue, ...words], { cwd: dir, env, stdio: ['ignore', 'ignore', 'pipe'] })
      onTestFinished(() => void child.kill('SIGKILL'))
      const ended = Promise.all([once(child, 'exit'), text(child.stderr)])
      return { child, ended: ended.then(([, stderr]) => ({ code: child.exitCode, stderr })) }
    },
  }
}
