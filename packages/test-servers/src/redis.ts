import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ask } from './ports.ts'
import { startServer, type StartOptions, type TestServer } from './server.ts'

/**
 * Starts Redis with an append-only file that is written before a command is answered, so a SIGKILL loses nothing. With Redis'
 * default, `appendfsync everysec`, it can lose data: during a sync the write is delayed by up to two seconds. `config` contains
 * lines for `redis.conf`.
 */
export function startRedis(options: StartOptions = {}): Promise<TestServer> {
  return startWith(options)
}

/** Starts a process of `redis-server`. `mode` contains arguments such as `--sentinel`. */
export function startWith(options: StartOptions, mode: readonly string[] = []): Promise<TestServer> {
  return startServer({
    server: 'redis',
    startMs: 60_000,
    url: (port) => `redis://127.0.0.1:${port}`,
    async command({ program, port, dir }) {
      const file = join(dir, 'redis.conf')
      await writeFile(
        file,
        [
          'bind 127.0.0.1',
          `port ${port}`,
          `dir ${dir}`,
          'daemonize no',
          ...(mode.includes('--sentinel') ? [] : ['save ""', 'appendonly yes', 'appendfsync no']),
          options.config ?? '',
        ].join('\n'),
      )
      return { file: program, args: [file, ...mode, ...(options.args ?? [])], ...(options.env && { env: options.env }) }
    },
    // A server with a password answers NOAUTH.
    answers: async (port) => /^\+PONG|^-NOAUTH/.test((await ask(port, 'PING\r\n')).toString('latin1')),
  })
}
