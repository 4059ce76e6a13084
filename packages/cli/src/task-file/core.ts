import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { ConfigError } from '@zyqueue/core'

type Supervisor = typeof import('@zyqueue/core/supervisor')

/**
 * The supervisor of the `@zyqueue/core` that the task file imports. Supervisor, worker processes and tasks must use the same
 * copy, and this command may have come with another one (from a cache of npx).
 */
export async function supervisorFor(taskFile: string): Promise<Supervisor> {
  const supervisor: Supervisor = await import(pathToFileURL(resolveCore(taskFile)).href)
  return supervisor
}

/** The path of that copy's supervisor. If the project has none, throws `ConfigError` `ZYQ_TASK_FILE` with the command that installs it. */
export function resolveCore(taskFile: string): string {
  try {
    return createRequire(taskFile).resolve('@zyqueue/core/supervisor')
  } catch (error) {
    const found = error instanceof Error && 'code' in error && error.code === 'ERR_PACKAGE_PATH_NOT_EXPORTED'
    throw new ConfigError(
      'ZYQ_TASK_FILE',
      found
        ? `The version of @zyqueue/core in the project of ${taskFile} is too old for this command. Update it: ${installCommand(taskFile)}`
        : `@zyqueue/core is not installed in the project of ${taskFile}. Install it there: ${installCommand(taskFile)}`,
      { cause: error },
    )
  }
}

const INSTALL_COMMANDS = {
  'pnpm-lock.yaml': 'pnpm add @zyqueue/core@latest',
  'yarn.lock': 'yarn add @zyqueue/core@latest',
  'bun.lock': 'bun add @zyqueue/core@latest',
}

/** The install command of the package manager whose lock file is nearest. */
function installCommand(taskFile: string): string {
  for (let at = dirname(taskFile); at !== dirname(at); at = dirname(at)) {
    for (const [lockFile, command] of Object.entries(INSTALL_COMMANDS)) {
      if (existsSync(join(at, lockFile))) return command
    }
  }
  return 'npm install @zyqueue/core@latest'
}
