import { join } from 'node:path'
import { ask } from './ports.ts'
import { startServer, type ServerKind, type StartOptions, type TestServer } from './server.ts'

interface GearmandOptions extends StartOptions {
  /** Whether background jobs are stored in an SQLite file, so that a SIGKILL loses none. Default: true. */
  readonly persistent?: boolean
  /** The parent of the server's folder. Default: the system's temporary folder. */
  readonly parent?: string
}

/** Starts gearmand. It has no configuration file, so use `args`. */
export function startGearmand(options: GearmandOptions = {}): Promise<TestServer> {
  const { persistent = true, parent } = options
  const kind: ServerKind = {
    server: 'gearmand',
    startMs: 60_000,
    url: (port) => `gearman://127.0.0.1:${port}`,
    command: async ({ program, port, dir }) => ({
      file: program,
      args: [
        '--listen=127.0.0.1',
        `--port=${port}`,
        `--log-file=${join(dir, 'gearmand.log')}`,
        `--pid-file=${join(dir, 'gearmand.pid')}`,
        ...(persistent ? ['--queue-type=libsqlite3', `--libsqlite3-db=${join(dir, 'queue.db')}`] : []),
        ...(options.args ?? []),
      ],
      ...(options.env && { env: options.env }),
    }),
    answers: async (port) => (await ask(port, 'version\n')).toString('latin1').startsWith('OK'),
  }
  return startServer(kind, parent)
}
