import { execFile } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

interface Program {
  readonly binary: string
  /** The Debian package that contains it. */
  readonly package: string
  /** The folders of a library. Absent for a program, which is found on the PATH. */
  readonly folders?: readonly string[]
}

const SERVERS = {
  redis: { binary: 'redis-server', package: 'redis-server' },
  gearmand: { binary: 'gearmand', package: 'gearman-job-server' },
  /** Not a server: the command-line client and worker. */
  gearman: { binary: 'gearman', package: 'gearman-tools' },
  rabbitmq: { binary: 'rabbitmq-server', package: 'rabbitmq-server' },
  /** Used by the tests of examples/broker-nats. */
  nats: { binary: 'nats-server', package: 'nats-server' },
  /** Not a server: a library that sets the clock of one process if it is preloaded. */
  libfaketime: {
    binary: 'libfaketimeMT.so.1',
    package: 'libfaketime',
    folders: ['x86_64', 'aarch64'].map((machine) => `/usr/lib/${machine}-linux-gnu/faketime`),
  },
} satisfies Record<string, Program>

export type ServerName = keyof typeof SERVERS

/** Whether the server can be started here. If not, `remedy` says what to install. */
export type Installed =
  | { readonly installed: true; readonly path: string }
  | { readonly installed: false; readonly remedy: string }

/**
 * Finds the server's program. If it is missing and the user is root on Debian, installs it.
 *
 * Only one process installs at a time. Installing takes up to a few minutes. Debian's service of the package is not started.
 */
export async function ensureInstalled(server: ServerName): Promise<Installed> {
  const { binary, package: debianPackage, folders }: Program = SERVERS[server]
  const remedy = `${binary} is not installed: apt-get install ${debianPackage}`
  const found = which(binary, folders)
  if (found !== undefined) return { installed: true, path: found }
  if (process.getuid?.() !== 0 || which('apt-get') === undefined || which('flock') === undefined)
    return { installed: false, remedy }
  try {
    await aptInstall(binary, debianPackage)
  } catch (error) {
    return { installed: false, remedy: `${remedy} (the installation failed: ${lastLine(error)})` }
  }
  const path = which(binary, folders)
  return path === undefined ? { installed: false, remedy } : { installed: true, path }
}

/** Finds a file. Debian keeps daemons in `sbin`, which is not on every user's PATH. A library need not be executable. */
function which(binary: string, libraryFolders?: readonly string[]): string | undefined {
  const programFolders = (process.env['PATH'] ?? '').split(delimiter).concat('/usr/local/sbin', '/usr/sbin', '/sbin')
  const access = libraryFolders === undefined ? constants.X_OK : constants.R_OK
  return (libraryFolders ?? programFolders)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, binary))
    .find((path) => {
      try {
        accessSync(path, access)
        return true
      } catch {
        return false
      }
    })
}

/**
 * If the first try fails, the package lists may be missing or old, so they are fetched before the second. A `policy-rc.d` that
 * exits with 101 prevents Debian from starting services. An existing one is not changed.
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
