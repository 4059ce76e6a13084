import { isFunctionName } from './bounds.ts'
import type { JobTable } from './jobs.ts'
import type { Peer } from './peer.ts'

/** The version of gearmand whose protocol this server speaks. */
const VERSION = '1.1.18-zyqueue'

/**
 * The first line of an HTTP request, whatever its method, and its headers. A web page may send them to this server from the
 * browser of a developer.
 */
const HTTP = /^(?:get|head|post|put|delete|connect|options|trace|patch)\b|^[\w-]+:|\sHTTP\/[\d.]+$/i

/**
 * Answers one text command. Returns `undefined` for a line of HTTP: the caller must close the connection and ignore its other
 * lines. `shutDown` ends the server.
 */
export function runCommand(
  line: string,
  jobs: JobTable,
  peers: Iterable<Peer>,
  shutDown: () => void,
): string | undefined {
  if (HTTP.test(line.trim())) return undefined
  const [command = '', ...words] = line.trim().split(/\s+/)
  switch (`${command} ${words[0] ?? ''}`.trim()) {
    case 'create function':
      if (words[1] === undefined || !isFunctionName(words[1])) return 'ERR invalid+function+name\n'
      jobs.functionNamed(words[1])
      return 'OK\n'
    case 'drop function':
      return dropFunction(jobs, words[1])
    case 'cancel job':
      return cancelJob(jobs, words[1])
    case 'show jobs':
      return formatList(
        [...jobs.byHandle.values()].map(({ handle, worker }) => [handle, 0, 0, worker === undefined ? 1 : 0]),
      )
  }
  const functions = [...jobs.functions.values()]
  switch (command) {
    case 'status':
      return formatList(
        functions.map(({ name, waitingCount, running, workers }) => [
          name,
          waitingCount + running,
          running,
          workers.size,
        ]),
      )
    case 'prioritystatus':
      return formatList(
        functions.map(({ name, waiting, workers }) => [name, ...waiting.map(({ size }) => size), workers.size]),
      )
    case 'workers':
      return formatList(
        [...peers].map(({ descriptor, address, clientId, abilities }) => [
          [descriptor, address, clientId, ':', ...abilities.map(({ name }) => name)].join(' '),
        ]),
      )
    case 'maxqueue':
      return limitFunction(jobs, words)
    case 'version':
      return `OK ${VERSION}\n`
    case 'getpid':
      return `OK ${process.pid}\n`
    case 'shutdown':
      // After the answer is written.
      setImmediate(shutDown)
      return 'OK\n'
    default:
      return `ERR UNKNOWN_COMMAND Unknown+server+command${encodeURIComponent(command)}\n`
  }
}

function dropFunction(jobs: JobTable, name: string | undefined): string {
  const found = name === undefined ? undefined : jobs.functions.get(name)
  if (found === undefined) return 'ERR function+not+found\n'
  if (found.workers.size > 0 || found.running > 0) return 'ERR there are still connected workers or executing clients\n'
  for (const waiting of found.waiting) for (const job of waiting.values()) jobs.end(job)
  jobs.functions.delete(found.name)
  return 'OK\n'
}

/** A running job is not cancelled. */
function cancelJob(jobs: JobTable, handle: string | undefined): string {
  const job = handle === undefined ? undefined : jobs.byHandle.get(handle)
  if (job !== undefined && job.worker === undefined) jobs.end(job)
  return 'OK\n'
}

function limitFunction(jobs: JobTable, [name, most]: readonly string[]): string {
  const found = name === undefined ? undefined : jobs.functions.get(name)
  if (found !== undefined) found.limit = Math.max(0, Number(most) || 0)
  return 'OK\n'
}

function formatList(rows: readonly (readonly (string | number)[])[]): string {
  return [...rows.map((fields) => fields.join('\t')), '.', ''].join('\n')
}
