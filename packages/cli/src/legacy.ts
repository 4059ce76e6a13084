/**
 * The command line of the Python original: `zyqueue -S gearman -C host:port --status`. A pure rewriting of arguments
 * into today's form, so that nothing else knows of it.
 */
import { UsageError } from './usage-error.ts'

/** Flags that say what to do, each with the verb of today; `value` goes where the flag had its value. */
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

/** Where one of these is, the line is of today, wherever it stands: `--json tasks --task-file F`. */
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

/** Flags that say how. */
const SETTINGS: Readonly<Record<string, (value: string) => readonly string[]>> = {
  server: (value) => ['--server', value],
  connection: (value) => ['--connection', value],
  max_workers: (value) => ['--max-workers', value],
}

/**
 * Today's arguments. `undefined` where the given ones are not of that form: they hold a verb, or nothing that says what to
 * do. Flags of today among them stay as they are. Throws `UsageError` where it asks for two things.
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
  const action = theOne(actions)
  if (action === undefined) return undefined
  return [...action, ...settings, ...(debug && action[0] === 'work' ? ['--log-level', 'debug'] : [])]
}

/** What a line asks for. `--queue Q` may stand beside another flag: `--status` of that queue, or what knows its queue by itself. */
function theOne(actions: readonly (readonly string[])[]): readonly string[] | undefined {
  const ofQueues = actions.filter(([verb, name]) => verb === 'status' && name !== undefined)
  const others = new Map(
    actions.filter((action) => !ofQueues.includes(action)).map((action) => [quoted(action), action]),
  )
  if (others.size > 1) {
    throw new UsageError(`one thing at a time, not ${[...others.keys()].join(' and ')}`, 'Give a line to each.')
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

/** Arguments as they would be typed. */
export function quoted(argv: readonly string[]): string {
  return argv.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(' ')
}
