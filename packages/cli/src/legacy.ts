/**
 * Accepts the command line of the Python original, such as `zyqueue -S gearman -C host:port --status`: translates its
 * arguments into today's, so that no other module has to know the old form.
 */
import { UsageError } from './usage-error.ts'

/** Flags that say what to do, each with today's command. */
const ACTIONS: Readonly<
  Record<string, { readonly takesValue: boolean; readonly today: (value: string) => readonly string[] }>
> = {
  task_file: { takesValue: true, today: (value) => ['work', '--task-file', value] },
  status: { takesValue: false, today: () => ['status'] },
  workers: { takesValue: false, today: () => ['workers'] },
  queues: { takesValue: false, today: () => ['status'] },
  queue: { takesValue: true, today: (value) => ['status', value] },
  empty_queue: { takesValue: true, today: (value) => ['purge', value, '--yes'] },
  requeue_all: { takesValue: false, today: () => ['dead', 'retry', '--all'] },
  gmversion: { takesValue: false, today: () => ['doctor'] },
  shutdown: { takesValue: false, today: () => ['shutdown', '--yes'] },
  jobs: { takesValue: true, today: (value) => ['jobs', value] },
  cancel_job: { takesValue: true, today: (value) => ['cancel', value] },
  requeue_job: { takesValue: true, today: (value) => ['dead', 'retry', '--id', value] },
  compact_queue: { takesValue: true, today: (value) => ['compact', value] },
}

/** A line that holds one of these words is already in today's form: `--json tasks --task-file F`. */
const VERBS = new Set([
  'work',
  'submit',
  'status',
  'workers',
  'tasks',
  'jobs',
  'cancel',
  'purge',
  'compact',
  'limit',
  'dead',
  'brokers',
  'doctor',
  'shutdown',
  'gearmand',
  'completion',
])

/** Flags that set something, each with today's option. */
const SETTINGS: Readonly<Record<string, (value: string) => readonly string[]>> = {
  server: (value) => ['--server', value],
  connection: (value) => ['--connection', value],
  max_workers: (value) => ['--max-workers', value],
}

/**
 * Today's arguments, or `undefined` if `argv` is not in the old form: it holds a command of today, or no flag that says what
 * to do. Today's flags stay as they are. Throws `UsageError` if two flags say what to do.
 */
export function fromLegacy(argv: readonly string[]): readonly string[] | undefined {
  const actions: (readonly string[])[] = []
  const settings: string[] = []
  let debug = false
  let mayBeValue = false

  const rest = [...argv]
  for (let token = rest.shift(); token !== undefined; token = rest.shift()) {
    const { name, inline } = flagOf(token)
    if (name === undefined) {
      const flag = token.startsWith('-')
      if (!flag && (!mayBeValue || VERBS.has(token))) return undefined
      settings.push(token)
      mayBeValue = flag && !token.includes('=')
      continue
    }
    mayBeValue = false
    const found = ACTIONS[name]
    const setting = SETTINGS[name]
    if (name === 'debug') {
      debug = true
    } else if (setting !== undefined || found?.takesValue === true) {
      const value = inline ?? rest.shift()
      if (value === undefined) return undefined
      if (setting !== undefined) settings.push(...setting(value))
      else if (found !== undefined) actions.push(found.today(value))
    } else if (found !== undefined && inline === undefined) {
      actions.push(found.today(''))
    } else {
      return undefined
    }
  }
  const action = onlyAction(actions)
  if (action === undefined) return undefined
  return [...action, ...settings, ...(debug && action[0] === 'work' ? ['--log-level', 'debug'] : [])]
}

/** The one action of a line. `--queue Q` may stand beside `--status`, and beside flags that name their queue themselves. */
function onlyAction(actions: readonly (readonly string[])[]): readonly string[] | undefined {
  const ofQueues = actions.filter(([verb, name]) => verb === 'status' && name !== undefined)
  const others = new Map(
    actions.filter((action) => !ofQueues.includes(action)).map((action) => [quote(action), action]),
  )
  if (others.size > 1) {
    throw new UsageError(
      `one command line cannot do both ${[...others.keys()].join(' and ')}`,
      'Run one command for each.',
    )
  }
  const [action = ofQueues.length > 0 ? ['status'] : undefined] = others.values()
  return action?.[0] === 'status' ? ['status', ...ofQueues.flatMap(([, ...names]) => names)] : action
}

const SHORT: Readonly<Record<string, string>> = { '-S': 'server', '-C': 'connection' }

function flagOf(token: string): { name?: string; inline?: string } {
  const short = SHORT[token]
  if (short !== undefined) return { name: short }
  const [, flag, inline] = /^--([A-Za-z_-]+)(?:=(.*))?$/s.exec(token) ?? []
  if (flag === undefined) return {}
  const name = flag.replaceAll('-', '_')
  const known = Object.hasOwn(ACTIONS, name) || Object.hasOwn(SETTINGS, name) || name === 'debug'
  return known ? { name, ...(inline === undefined ? {} : { inline }) } : {}
}

/** Quotes arguments for a shell. */
export function quote(argv: readonly string[]): string {
  return argv.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(' ')
}
