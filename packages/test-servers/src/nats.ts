import { join } from 'node:path'
import { ask } from './ports.ts'
import { startServer, type StartOptions, type TestServer } from './server.ts'

/** Starts nats-server with JetStream. Streams are stored in files, so a SIGKILL loses no acknowledged message. Use `args`. */
export function startNats(options: StartOptions = {}): Promise<TestServer> {
  return startServer({
    server: 'nats',
    startMs: 60_000,
    url: (port) => `nats://127.0.0.1:${port}`,
    command: async ({ program, port, dir }) => ({
      file: program,
      args: ['-a', '127.0.0.1', '-p', `${port}`, '-js', '-sd', join(dir, 'store'), ...(options.args ?? [])],
      ...(options.env && { env: options.env }),
    }),
    // The server sends INFO to every new connection.
    answers: async (port) => (await ask(port, '')).toString('latin1').startsWith('INFO'),
  })
}
