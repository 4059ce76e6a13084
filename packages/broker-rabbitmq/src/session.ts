import { Ladder } from './delays.ts'
import type { Link } from './link.ts'
import type { Publisher } from './publisher.ts'
import { Registry } from './registry.ts'
import { Workbench } from './workbench.ts'

/** The connection for everything but publishing, and what is known through it. It ends with the connection. */
export interface Session {
  readonly link: Link
  readonly workbench: Workbench
  readonly publisher: Publisher
  readonly ladder: Ladder
  readonly registry: Registry
  /** Queues whose dead letters have a place already. */
  readonly deadQueues: Set<string>
}

export function createSession(link: Link, publisher: Publisher): Session {
  const workbench = new Workbench(link)
  const registry = new Registry(link, workbench, publisher)
  return { link, workbench, publisher, registry, ladder: new Ladder(workbench, registry), deadQueues: new Set() }
}
