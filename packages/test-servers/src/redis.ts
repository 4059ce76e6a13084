import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ask } from './ports.ts'
import { startServer, type StartOptions, type TestServer } from './server.ts'

/**
 * Redis with an append-only file, written before a command is answered: a SIGKILL loses nothing. With Redis' own default,
 * `appendfsync everysec`, it would: the write is put off, for two seconds at most, while the last sync is under way.
 * `config` lines are those of `redis.conf`.
 */
export function startRedis(options: StartOptions = {}): Promise<TestServer> {
  return startWith(options)
}

/** A process of `redis-server`; `mode` are further arguments that say what it is to be. */
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
    // A server with a password is up too.
    answers: async (port) => /^\+PONG|^-NOAUTH/.test((await ask(port, 'PING\r\n')).toString('latin1')),
  })
}
