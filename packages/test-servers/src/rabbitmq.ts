import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { ask, freePort } from './ports.ts'
import { startServer, type StartOptions, type TestServer } from './server.ts'

/** AMQP 0-9-1, section 4.2.2: the client sends this first, and the server answers with a method frame (type 1). */
const PROTOCOL_HEADER = Buffer.from('AMQP\x00\x00\x09\x01', 'latin1')

const ON_LOOPBACK = '-kernel inet_dist_use_interface {127,0,0,1}'

/**
 * For `env`. If a node dies while dead letters move between queues, RabbitMQ sends them again after three minutes. Jobs at the
 * end of a delay move this way. This setting reduces the time to three seconds.
 */
export const PROMPT_DEAD_LETTERS = {
  RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: `${ON_LOOPBACK} -rabbit dead_letter_worker_publisher_confirm_timeout 3000`,
}

export interface RabbitmqServer extends TestServer {
  /** Runs `rabbitmqctl` on this node and resolves to its output. A call takes one or two seconds. */
  ctl(...args: readonly string[]): Promise<string>
}

export interface RabbitmqOptions extends StartOptions {
  /** Plugins of RabbitMQ that the server enables. */
  readonly plugins?: readonly string[]
}

/** The settings that the nodes of a cluster share. */
interface Cluster {
  readonly epmdPort: number
  readonly cookie: string
}

/**
 * Starts RabbitMQ with its own port mapper (epmd), Erlang cookie and node name. `config` contains lines for `rabbitmq.conf`.
 * Takes several seconds.
 */
export function startRabbitmq(options: RabbitmqOptions = {}): Promise<RabbitmqServer> {
  return startNode(options)
}

/**
 * Starts a cluster with `size` nodes. The first node runs the port mapper of all nodes: `rabbitmqctl` and joining need it. Takes
 * half a minute.
 */
export async function startRabbitmqCluster(
  size: number,
  options: RabbitmqOptions = {},
): Promise<readonly [RabbitmqServer, ...RabbitmqServer[]]> {
  const cluster: Cluster = { epmdPort: await freePort(), cookie: randomBytes(16).toString('hex') }
  const first = await startNode(options, cluster)
  const others: RabbitmqServer[] = []
  try {
    for (let number = 1; number < size; number++) {
      const node = await startNode(options, cluster)
      others.push(node)
      await node.ctl('stop_app')
      await node.ctl('join_cluster', nodeName(first.dir))
      await node.ctl('start_app')
    }
    return [first, ...others]
  } catch (error) {
    await Promise.all([first, ...others].map((node) => node.stop()))
    throw error
  }
}

async function startNode(options: RabbitmqOptions, cluster?: Cluster): Promise<RabbitmqServer> {
  const commands = new Map<string, { readonly ctl: string; readonly env: Readonly<Record<string, string>> }>()
  const server = await startServer({
    server: 'rabbitmq',
    startMs: 240_000,
    url: (port) => `amqp://guest:guest@127.0.0.1:${port}`,
    async command({ program, port, dir }) {
      const [epmdPort, distributionPort] = [cluster?.epmdPort ?? (await freePort()), await freePort()]
      await writeFile(
        join(dir, 'rabbitmq.conf'),
        [`listeners.tcp.local = 127.0.0.1:${port}`, 'disk_free_limit.absolute = 50MB', options.config ?? ''].join('\n'),
      )
      await writeFile(join(dir, 'enabled_plugins'), `[${(options.plugins ?? []).join(', ')}].\n`)
      if (cluster !== undefined) await writeFile(join(dir, '.erlang.cookie'), cluster.cookie, { mode: 0o400 })
      const env = {
        HOME: dir,
        ERL_EPMD_PORT: String(epmdPort),
        ERL_EPMD_ADDRESS: '127.0.0.1',
        RABBITMQ_NODENAME: nodeName(dir),
        RABBITMQ_NODE_PORT: String(port),
        RABBITMQ_DIST_PORT: String(distributionPort),
        RABBITMQ_CONFIG_FILE: join(dir, 'rabbitmq.conf'),
        RABBITMQ_CONF_ENV_FILE: join(dir, 'rabbitmq-env.conf'),
        RABBITMQ_ENABLED_PLUGINS_FILE: join(dir, 'enabled_plugins'),
        RABBITMQ_MNESIA_BASE: join(dir, 'mnesia'),
        RABBITMQ_LOG_BASE: join(dir, 'log'),
        RABBITMQ_PID_FILE: join(dir, 'rabbitmq.pid'),
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: ON_LOOPBACK,
        ...options.env,
      }
      const file = withoutChangeOfUser(program)
      commands.set(dir, { ctl: join(dirname(file), 'rabbitmqctl'), env })
      return {
        // If the server started the port mapper, it would become a daemon and survive the server.
        file: 'sh',
        args: ['-c', `epmd & exec "$@"`, 'rabbitmq', file, ...(options.args ?? [])],
        env,
      }
    },
    answers: async (port) => (await ask(port, PROTOCOL_HEADER)).at(0) === 1,
  })
  const { ctl = 'rabbitmqctl', env } = commands.get(server.dir) ?? {}
  return Object.assign(server, {
    async ctl(...args: readonly string[]): Promise<string> {
      const options = { env: { ...process.env, ...env }, timeout: 240_000 }
      const { stdout } = await promisify(execFile)(ctl, args, options)
      return stdout
    },
  })
}

function nodeName(dir: string): string {
  return `${basename(dir)}@localhost`
}

/** Debian's programs in `/usr/sbin` switch to the user `rabbitmq`, which cannot access the folder of the test. */
function withoutChangeOfUser(program: string): string {
  return program.startsWith('/usr/sbin/') ? '/usr/lib/rabbitmq/bin/rabbitmq-server' : program
}
