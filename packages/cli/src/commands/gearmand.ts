import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Argv } from 'yargs'
import { ConfigError } from '@zyqueue/core'
import { z } from 'zod'
import { resolveFrom } from '../broker.ts'
import { count, nameErrors, TEXT, type GlobalArgs } from '../options.ts'
import { print, printNote } from '../output.ts'
import { handleSignals } from '../signals.ts'

const SERVER = '@zyqueue/broker-gearman/server'

const LOOPBACK = /^(?:localhost|127\.[\d.]+|::1)$/i

/** The exports of that module. The CLI does not depend on the package, which the user's project installs. */
const serverModule = z.object({
  startJobServer: z.custom<(options: { port: number; host: string }) => Promise<unknown>>(
    (value) => typeof value === 'function',
  ),
})
const jobServer = z.object({
  port: z.number(),
  host: z.string(),
  ended: z.custom<Promise<void>>((value) => value instanceof Promise),
  close: z.custom<() => Promise<void>>((value) => typeof value === 'function'),
})

/** `--json`: `{ connection }`, printed when the server listens. Runs until SIGINT, SIGTERM or a client's `shutdown`. */
export function gearmandCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'gearmand',
    'Run a Gearman job server for development; it keeps jobs in memory only',
    (command) =>
      command
        .options(
          nameErrors({
            port: { ...count('TCP port; 0 for any free port', 0, 65_535), defaultDescription: '4730' },
            host: {
              ...TEXT,
              describe: 'Address to listen on; the server has no password',
              defaultDescription: '127.0.0.1',
            },
          }),
        )
        .example('$0 gearmand', 'Then: zyqueue work -C gearman://localhost:4730 …'),
    async ({ port, host, json }) => {
      const { startJobServer } = serverModule.parse(await import(resolveServer()))
      const server = jobServer.parse(await startJobServer({ port: port ?? 4730, host: host ?? '127.0.0.1' }))
      const connection = `gearman://${server.host}:${server.port}`
      print(json, { connection }, () => `Gearman job server at ${connection}`)
      if (!LOOPBACK.test(server.host)) {
        process.stderr.write(
          `zyqueue: warning: the job server has no password, and every client that reaches ${server.host}:${server.port} can run and delete jobs. Without --host it listens on this host only.\n`,
        )
      }
      printNote(json, 'press Ctrl+C to stop; jobs are kept in memory and are lost then')
      using _signals = handleSignals(() => void server.close())
      await server.ended
    },
  )
}

function resolveServer(): string {
  const folders = resolveFrom()
  for (const folder of folders) {
    try {
      return pathToFileURL(createRequire(join(folder, 'package.json')).resolve(SERVER)).href
    } catch {
      // Try the next folder.
    }
  }
  throw new ConfigError(
    'ZYQ_BROKER_NOT_FOUND',
    `The job server is not installed: ${SERVER} was not found from ${folders.join(', ')}. Install it: npm install @zyqueue/broker-gearman`,
  )
}
