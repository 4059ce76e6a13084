import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

const SERVERS = {
  redis: { binary: 'redis-server', package: 'redis-server' },
  gearmand: { binary: 'gearmand', package: 'gearman-job-server' },
  /** No server, but the client and worker of the command line. */
  gearman: { binary: 'gearman', package: 'gearman-tools' },
  rabbitmq: { binary: 'rabbitmq-server', package: 'rabbitmq-server' },
  /** Started by the tests of examples/broker-nats. */
  nats: { binary: 'nats-server', package: 'nats-server' },
} as const

export type ServerName = keyof typeof SERVERS

/** Whether the server can be started here; where not, one line that says what to install. */
export type Installed =
  | { readonly installed: true; readonly path: string }
  | { readonly installed: false; readonly remedy: string }

/**
 * Finds the server's program; where it is missing and the user is root on Debian, installs it.
 *
 * Installing waits its turn behind other processes that do the same and takes up to a few minutes. Debian's own service
 * of that name is not started.
 */
export async function ensureInstalled(server: ServerName): Promise<Installed> {
  const { binary, package: debianPackage } = SERVERS[server]
  const remedy = `${binary} is not installed: apt-get install ${debianPackage}`
  const found = which(binary)
  if (found !== undefined) return { installed: true, path: found }
  if (process.getuid?.() !== 0 || which('apt-get') === undefined || which('flock') === undefined)
    return { installed: false, remedy }
  try {
    await aptInstall(binary, debianPackage)
  } catch (error) {
    return { installed: false, remedy: `${remedy} (tried, and it failed: ${lastLine(error)})` }
  }
  const path = which(binary)
  return path === undefined ? { installed: false, remedy } : { installed: true, path }
}

/** Debian keeps daemons in `sbin`, which is not on every user's PATH. */
function which(binary: string): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter).concat('/usr/local/sbin', '/usr/sbin', '/sbin')
  return folders
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, binary))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

/**
 * The package lists are fetched only where the first try fails: they may be missing or old. A `policy-rc.d` that
 * answers 101 is how Debian is told to start no service; one that is there already is left alone.
 */
const APT_INSTALL = `
if command -v "$1" >/dev/null; then exit 0; fi
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\\nexit 101\\n' >"$policy"
  chmod 755 "$policy"
fi
install() { apt-get install -qq -y --no-install-recommends "$2" >/dev/null; }
install "$1" "$2" 2>/dev/null || { apt-get update -qq && install "$1" "$2"; }
`

async function aptInstall(binary: string, debianPackage: string): Promise<void> {
  const lock = join(tmpdir(), 'zyqueue-apt.lock')
  await promisify(execFile)('flock', [lock, 'sh', '-c', APT_INSTALL, 'sh', binary, debianPackage], {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    timeout: 600_000,
  })
}

function lastLine(error: unknown): string {
  const output =
    error instanceof Error && 'stderr' in error && typeof error.stderr === 'string' ? error.stderr : String(error)
  return output.trim().split('\n').at(-1) ?? ''
}
