import { existsSync } from 'node:fs'
import { dirname, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { BrokerChoice } from './discovery.ts'
import { inherit } from './inherit.ts'

/** Where this process looks for brokers, and what relative paths in connections are relative to. */
export interface Resolution {
  /** Folders, the likeliest first. */
  readonly resolveFrom: readonly string[]
  readonly baseDir: string
}

const key: unique symbol = Symbol.for('@zyqueue/core/resolution@1')

// One for the process: the copy of this package that a command brings knows the place, the task file's copy needs it.
const home: { [key]?: Resolution } = Object(globalThis)

/**
 * The folder of the script that was started, unless a tool (a test runner, a CLI) started it; then the working directory,
 * then this package's own place.
 */
export function resolution(): Resolution {
  if (home[key] !== undefined) return home[key]
  const script = scriptDir()
  const here = dirname(fileURLToPath(import.meta.url))
  const cwd = process.cwd()
  return { resolveFrom: script === undefined ? [cwd, here] : [script, cwd, here], baseDir: script ?? cwd }
}

/** For programs that know better than their own place: a worker process looks from its task file. */
export function setResolution(resolution: Resolution): void {
  home[key] = { ...resolution, resolveFrom: [...new Set(resolution.resolveFrom)] }
}

function scriptDir(): string | undefined {
  const script = process.argv[1]
  if (script === undefined || script.split(sep).includes('node_modules') || !existsSync(script)) return undefined
  return dirname(script)
}

/** What is meant by a choice in this environment. Throws `ConfigError` (`ZYQ_CONFIG`) if they contradict each other. */
export function withEnvironment(choice: BrokerChoice): BrokerChoice {
  const environment = {
    server: process.env['ZYQUEUE_SERVER'] || undefined,
    connection: process.env['ZYQUEUE_CONNECTION'] || undefined,
  }
  // `zyqueue work -C` sets the variable for its processes.
  return inherit(choice, environment, 'ZYQUEUE_CONNECTION or -C')
}
