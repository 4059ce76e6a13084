import { existsSync } from 'node:fs'
import { dirname, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { BrokerChoice } from './discovery.ts'
import { inherit } from './inherit.ts'

/** Where this process searches for brokers, and the base of relative paths in connections. */
export interface Resolution {
  /** Folders, the most likely first. */
  readonly resolveFrom: readonly string[]
  readonly baseDir: string
}

const key: unique symbol = Symbol.for('@zyqueue/core/resolution@1')

// One value per process: the CLI's copy of this package sets it, and the task file's copy reads it.
const home: { [key]?: Resolution } = Object(globalThis)

/**
 * The folder of the started script (not of a tool such as a test runner or CLI), then the working directory, then the folder
 * of this package.
 */
export function resolution(): Resolution {
  if (home[key] !== undefined) return home[key]
  const script = scriptDir()
  const here = dirname(fileURLToPath(import.meta.url))
  const cwd = process.cwd()
  return { resolveFrom: script === undefined ? [cwd, here] : [script, cwd, here], baseDir: script ?? cwd }
}

/** Replaces the default resolution: a worker process searches from its task file. */
export function setResolution(resolution: Resolution): void {
  home[key] = { ...resolution, resolveFrom: [...new Set(resolution.resolveFrom)] }
}

function scriptDir(): string | undefined {
  const script = process.argv[1]
  if (script === undefined || script.split(sep).includes('node_modules') || !existsSync(script)) return undefined
  return dirname(script)
}

/** Completes a choice from the environment. Throws `ConfigError` (`ZYQ_CONFIG`) if they contradict each other. */
export function withEnvironment(choice: BrokerChoice): BrokerChoice {
  const environment = {
    server: process.env['ZYQUEUE_SERVER'] || undefined,
    connection: process.env['ZYQUEUE_CONNECTION'] || undefined,
  }
  // `zyqueue work -C` sets the variable for its processes.
  return inherit(choice, environment, 'ZYQUEUE_CONNECTION or -C')
}
