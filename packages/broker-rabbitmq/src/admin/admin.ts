import type { Message } from 'amqplib'
import type { BrokerAdmin, Finding } from '@zyqueue/core/broker'
import type { Address } from '../connection/address.ts'
import { createDeadLetters } from './dead-letters.ts'
import { ORPHANS } from '../publish/delay-levels.ts'
import { createManagement, type Management } from './management.ts'
import { dueNameOf, type Plan } from '../options.ts'
import { exclusively, takeAndReturn, type Decision } from './browse.ts'
import { OWN_HEADER, ownHeader } from '../message.ts'
import type { ConnectionState } from '../connection/connection-state.ts'
import { countsOf, deadQueueOf, queueNotFound } from '../topology.ts'
import { findingsOfVersion } from '../connection/versions.ts'
import { queueStats, workerStats } from './statistics.ts'

/** `plans`: the queues that this broker has declared. */
export function createAdmin(
  state: () => ConnectionState,
  address: Address,
  plans: ReadonlyMap<string, Plan>,
): BrokerAdmin {
  const management = createManagement(address)
  return {
    deadLetters: createDeadLetters(state),
    queues: async (names) => queueStats(state(), management, plans, names),
    workers: async () => workerStats(state()),
    purge: async (queue) => purge(state(), queue),
    check: async () => check(state(), management, plans),
    async version() {
      return `RabbitMQ ${state().connection.version}`
    },
  }
}

async function purge(state: ConnectionState, queue: string): Promise<number> {
  const { declareChannel } = state
  if ((await countsOf(declareChannel, queue)) === undefined) throw queueNotFound(queue)
  const names = [queue, dueNameOf(queue)]
  let deleted = 0
  for (const name of names) {
    if ((await countsOf(declareChannel, name)) === undefined) continue
    deleted += (await declareChannel.run((channel) => channel.purgeQueue(name))).messageCount
  }
  return deleted + (await purgeDelayed(state, names))
}

/** The delay levels hold the jobs of all queues. Jobs of other queues come a little late meanwhile. */
function purgeDelayed(state: ConnectionState, names: readonly string[]): Promise<number> {
  const isDeleted = (message: Message): boolean =>
    names.includes(message.fields.routingKey) && ownHeader(message, OWN_HEADER.exchange) === undefined
  return exclusively(state.declareChannel, 'zyqueue.delay', async () => {
    let deleted = 0
    for (const level of state.delayLevels.queues) {
      await takeAndReturn(state, level, Infinity, async (messages) => {
        const decisions = messages.map((message): Decision => (isDeleted(message) ? 'delete' : 'keep'))
        deleted += decisions.filter((decision) => decision === 'delete').length
        return decisions
      })
    }
    return deleted
  })
}

async function check(
  { connection, declareChannel, publisher, catalog }: ConnectionState,
  management: Management,
  plans: ReadonlyMap<string, Plan>,
): Promise<readonly Finding[]> {
  const findings: Finding[] = [...findingsOfVersion(connection.version)]
  const orphans = (await countsOf(declareChannel, ORPHANS))?.messageCount ?? 0
  if (orphans > 0) {
    findings.push({
      level: 'warning',
      message: `${orphans} delayed jobs were due for queues that had been deleted. They are kept in ${ORPHANS}`,
      remedy: `Move them with the management plugin, or purge the queue ${ORPHANS}`,
    })
  }
  if (publisher.blockedBecause !== undefined) {
    findings.push({
      level: 'problem',
      message: `RabbitMQ accepts no messages at the moment: ${publisher.blockedBecause}`,
      remedy: 'Give it memory or disk space, or run more workers',
    })
  }
  // Without the catalog the other findings still count.
  const { newer, queues } = await catalog.read().catch(() => ({ newer: 0, queues: new Map<string, boolean>() }))
  if (newer > 0) {
    findings.push({
      level: 'note',
      message: `A newer version of ZyQueue wrote ${newer} records of the catalog, so some queues or workers are not listed`,
      remedy: 'Upgrade @zyqueue/broker-rabbitmq',
    })
  }
  const names = [...plans.keys(), ...queues.keys()].flatMap((name) => [name, dueNameOf(name), deadQueueOf(name)])
  return [...findings, ...(await management.findings(new Set(names)))]
}
