import type { Jobs } from './jobs.ts'
import type { Peer } from './peer.ts'

/** The protocol that this server speaks, as gearmand would name it. */
const VERSION = '1.1.18-zyqueue'

/** Answers one line of an operator; `end` ends the server. */
export function answer(line: string, jobs: Jobs, peers: Iterable<Peer>, end: () => void): string {
  const [command = '', ...words] = line.trim().split(/\s+/)
  switch (`${command} ${words[0] ?? ''}`.trim()) {
    case 'create function':
      if (words[1] !== undefined) jobs.functionNamed(words[1])
      return 'OK\n'
    case 'drop function':
      return drop(jobs, words[1])
    case 'cancel job':
      return cancel(jobs, words[1])
    case 'show jobs':
      return list(
        [...jobs.byHandle.values()].map(({ handle, worker }) =>
          [handle, 0, 0, worker === undefined ? 1 : 0].join('\t'),
        ),
      )
  }
  switch (command) {
    case 'status':
      return list(
        [...jobs.functions.values()].map((each) =>
          row(each.name, each.waitingCount + each.running, each.running, each.workers.size),
        ),
      )
    case 'prioritystatus':
      return list(
        [...jobs.functions.values()].map((each) =>
          row(each.name, ...each.waiting.map(({ size }) => size), each.workers.size),
        ),
      )
    case 'workers':
      return list(
        [...peers].map(({ descriptor, address, clientId, abilities }) =>
          [descriptor, address, clientId, ':', ...abilities.map(({ name }) => name)].join(' '),
        ),
      )
    case 'maxqueue':
      return limit(jobs, words)
    case 'version':
      return `OK ${VERSION}\n`
    case 'getpid':
      return `OK ${process.pid}\n`
    case 'shutdown':
      // Once it is answered.
      setImmediate(end)
      return 'OK\n'
    default:
      return `ERR UNKNOWN_COMMAND Unknown+server+command${encodeURIComponent(command)}\n`
  }
}

function drop(jobs: Jobs, name: string | undefined): string {
  const found = name === undefined ? undefined : jobs.functions.get(name)
  if (found === undefined) return 'ERR function+not+found\n'
  if (found.workers.size > 0 || found.running > 0) return 'ERR there are still connected workers or executing clients\n'
  for (const waiting of found.waiting) for (const job of waiting.values()) jobs.end(job)
  jobs.functions.delete(found.name)
  return 'OK\n'
}

function cancel(jobs: Jobs, handle: string | undefined): string {
  const job = handle === undefined ? undefined : jobs.byHandle.get(handle)
  // One that runs is its worker's.
  if (job !== undefined && job.worker === undefined) jobs.end(job)
  return 'OK\n'
}

function limit(jobs: Jobs, [name, most]: readonly string[]): string {
  const found = name === undefined ? undefined : jobs.functions.get(name)
  if (found !== undefined) found.limit = Math.max(0, Number(most) || 0)
  return 'OK\n'
}

function row(...fields: readonly (string | number)[]): string {
  return fields.join('\t')
}

function list(lines: readonly string[]): string {
  return [...lines, '.', ''].join('\n')
}
