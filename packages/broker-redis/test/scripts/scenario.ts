/** A queue with jobs in every key, all operations of a broker while something is broken, and the check of the result. */
import type { Delivery, PublishResult, SettleResult } from '@zyqueue/core/broker'
import type { RedisBroker } from '../../src/broker.ts'
import { consume, message, never, newQueue, receive } from '../support.ts'

const UNREADABLE = '{"by":"another program","data":[1,2,3,4,5,6,7,8]}'

export interface Scenario {
  readonly queue: string
  /** The consumer of the broker under test. */
  readonly consumerId: string
  /** Runs all operations while something is broken. Each may fail. */
  whileBroken(): Promise<void>
  /** Repeats the failed operations, which must succeed now. Returns descriptions of lost jobs and wrong results. */
  faults(): Promise<readonly string[]>
}

interface Settlement {
  readonly delivery: Delivery
  readonly settle: () => Promise<readonly SettleResult[]>
  /** The place of the job after success. Absent: the job must be gone. */
  readonly place?: 'ready' | 'delayed' | 'dead'
  result?: SettleResult | undefined
}

/** `whole` has all rights. The operations of `tested` will fail. `plant` pushes a value to the list of ready jobs as another program. */
export async function openScenario(
  whole: RedisBroker,
  tested: RedisBroker,
  plant: (queue: string, value: string) => Promise<unknown>,
): Promise<Scenario> {
  const queue = await newQueue(whole)
  const consumerId = `tested-${queue}`
  const stored = ['plain-1', 'plain-2', 'plain-3', 'plain-4', 'plain-5', 'plain-6', 'plain-7', 'plain-8']
  await whole.publish([message(queue, 'dead'), message(queue, 'dead-high', { priority: 8 })])
  const rejecting = await consume(whole, [queue])
  await rejecting.reject((await receive(rejecting, 2)).map((delivery) => ({ delivery, reason: 'ZYQ_TEST: dead' })))
  await rejecting.close()
  await whole.publish([message(queue, 'lost-1'), message(queue, 'lost-2')])
  await receive(await consume(whole, [queue], { consumerId: `lost-${queue}`, prefetch: 2 }), 2)
  await whole.publish(stored.map((id) => message(queue, id)))
  const consumer = await consume(tested, [queue], { consumerId })
  const [acked, released, later, rejected, changed] = await receive(consumer, 5)
  if (!acked || !released || !later || !rejected || !changed) throw new Error('too few deliveries')
  await whole.leases.renew([`lost-${queue}`], 1)
  await plant(queue, UNREADABLE)
  await whole.publish([
    message(queue, 'high', { priority: 9 }),
    message(queue, 'low', { priority: 1 }),
    message(queue, 'due', { delayMs: 1 }),
    message(queue, 'later', { delayMs: 600_000 }),
  ])
  const headers = { changed: 'yes' }
  const settlements: Settlement[] = [
    { delivery: acked, settle: () => consumer.ack([acked]) },
    { delivery: released, settle: () => consumer.release([{ delivery: released, delayMs: 0 }]), place: 'ready' },
    { delivery: later, settle: () => consumer.release([{ delivery: later, delayMs: 500_000 }]), place: 'delayed' },
    { delivery: rejected, settle: () => consumer.reject([{ delivery: rejected, reason: 'ZYQ_A' }]), place: 'dead' },
    {
      delivery: changed,
      settle: () => consumer.reject([{ delivery: changed, reason: 'ZYQ_B', headers }]),
      place: 'dead',
    },
  ]
  const batch = [
    message(queue, '0mabcdefgh012345678900000001'),
    message(queue, 'new-high', { priority: 7 }),
    message(queue, 'new-later', { delayMs: 400_000 }),
  ]
  let published: readonly PublishResult[] = batch.map((): PublishResult => ({ status: 'refused', error: 'rejected' }))
  const all = [...stored, 'dead', 'dead-high', 'lost-1', 'lost-2', 'high', 'low', 'due', 'later']

  return {
    queue,
    consumerId,
    async whileBroken() {
      published = await tested.publish(batch).catch(() => published)
      for (let repeated = 0; repeated < 2; repeated++) {
        for (const settlement of settlements) {
          if (settlement.result?.status !== 'ok') settlement.result = (await settlement.settle().catch(() => []))[0]
        }
      }
      const attempts: (() => Promise<unknown>)[] = [
        () => consumer.receive(4, { signal: never }),
        () => tested.leases.renew([consumerId], 600_000),
        () => tested.leases.reclaim(`lost-${queue}`, [{ id: 'lost-1', headers }]),
        () => tested.admin.deadLetters.requeue(queue),
        () => tested.admin.compact(queue),
        () => consumer.receive(4, { signal: never }),
        () => tested.admin.jobs(queue, { limit: 100 }),
        () => tested.admin.deadLetters.list(queue, { limit: 100 }),
        () => consume(tested, [queue], { consumerId: `lost-${queue}` }),
      ]
      for (const attempt of attempts) await attempt().catch(() => {})
    },
    async faults() {
      const faults: string[] = []
      const places = async (): Promise<ReadonlyMap<string, readonly string[]>> => placesIn(whole, queue)
      const now = await places()
      for (const [index, { id }] of batch.entries()) {
        const status = published[index]?.status
        if (status === 'stored' && !now.has(id)) faults.push(`${id} was reported as stored, but is not`)
        if (status === 'refused' && now.has(id)) faults.push(`${id} was reported as refused, but is stored`)
      }
      for (const result of await tested.publish(batch)) {
        if (result.status !== 'stored') faults.push(`publishing again: ${result.status} ${String(result.error)}`)
      }
      for (const settlement of settlements) {
        const { id } = settlement.delivery
        if (settlement.result?.status === 'ok' && !isAt(now, id, settlement.place)) {
          faults.push(
            `${id} was reported as settled, but is ${String(now.get(id))} instead of ${settlement.place ?? 'gone'}`,
          )
        }
        if (settlement.result?.status === 'ok') continue
        const [again] = await settlement.settle()
        const then = await places()
        if (again?.status !== 'ok') faults.push(`${id} settled again: ${JSON.stringify(again)}`)
        else if (!isAt(then, id, settlement.place)) faults.push(`${id} settled again is ${String(then.get(id))}`)
      }
      const end = await places()
      for (const id of [...all, ...batch.map((job) => job.id)]) {
        const found = end.get(id) ?? []
        if (found.length === 0 && id !== acked.id) faults.push(`${id} is lost`)
        if (found.length > 2) faults.push(`${id} is stored ${found.length} times`)
      }
      if (!end.has(UNREADABLE)) faults.push('the unreadable job is lost')
      await consumer.close()
      return faults
    },
  }
}

function isAt(places: ReadonlyMap<string, readonly string[]>, id: string, place: Settlement['place']): boolean {
  const found = places.get(id) ?? []
  // Later operations may have claimed or requeued a job that was released or rejected.
  return place === undefined ? !found.includes('active') : found.length > 0
}

/** The places of each job, by id. Unreadable jobs are identified by their bytes. */
async function placesIn(broker: RedisBroker, queue: string): Promise<ReadonlyMap<string, readonly string[]>> {
  const places = new Map<string, readonly string[]>()
  const add = (id: string, body: Uint8Array, place: string): void => {
    const name = id.startsWith('unreadable') ? Buffer.from(body).toString() : id
    places.set(name, [...(places.get(name) ?? []), place])
  }
  for (const { id, body, state } of await broker.admin.jobs(queue, { limit: 1000 })) add(id, body, state)
  for (const { id, body } of await broker.admin.deadLetters.list(queue, { limit: 1000 })) add(id, body, 'dead')
  return places
}
