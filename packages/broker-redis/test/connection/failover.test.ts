/** A master that stops while jobs run, with sentinels and in a cluster. */
import { startRedisCluster, startRedisSentinel } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import type { Broker, Consumer } from '@zyqueue/core/broker'
import { expect, onTestFinished, test } from 'vitest'
import {
  consume,
  eventually,
  callUntilConnected,
  message,
  messages,
  never,
  newQueue,
  openBroker,
  openClient,
  receive,
} from '../support.ts'

/** Publishes jobs one by one and consumes them until the returned functions stop it. Reconnects if necessary. */
function workOn(producer: Broker, worker: Broker, consumer: Consumer, queue: string) {
  const stored = new Set<string>()
  const run = new Set<string>()
  let publishing = true
  let working = true
  const publish = async (): Promise<void> => {
    for (let count = 0; publishing; count++) {
      const id = `${queue}-job-${count}`
      const [result] = await callUntilConnected(producer, () => producer.publish([message(queue, id)]))
      if (result?.status === 'stored') stored.add(id)
    }
  }
  const work = async (): Promise<void> => {
    while (working) {
      const deliveries = await callUntilConnected(worker, () => consumer.receive(10, { signal: never }))
      for (const { id } of deliveries) run.add(id)
      await callUntilConnected(worker, () => consumer.ack(deliveries))
    }
  }
  const ended = Promise.all([publish(), work()])
  return {
    stored,
    run,
    stopPublishing: () => {
      publishing = false
    },
    end: () => {
      publishing = false
      working = false
      return ended
    },
  }
}

await describeWithServer('redis', 'a failover', () => {
  test('with sentinels, every replicated job runs and new jobs are stored', async () => {
    const sentinel = await startRedisSentinel()
    onTestFinished(() => sentinel.stop())
    const [producer, worker] = await Promise.all([openBroker(sentinel.url), openBroker(sentinel.url)])
    const queue = await newQueue(producer)
    const consumer = await consume(worker, [queue], { consumerId: 'survivor' })
    const flow = workOn(producer, worker, consumer, queue)
    await eventually('some jobs have run', () => flow.run.size > 100)

    // WAIT confirms that every job of this backlog is replicated.
    const backlog = messages(queue, 500)
    await producer.publish(backlog)
    const replicated = new Set([...flow.stored, ...backlog.map(({ id }) => id)])
    const client = openClient(sentinel.master.url)
    await client.set('mark', '1')
    expect(await client.wait(1, 10_000)).toBe(1)
    await sentinel.master.kill('SIGKILL')

    const before = flow.stored.size
    await eventually('jobs are stored again', () => flow.stored.size > before + 100)
    flow.stopPublishing()
    await eventually('every replicated job has run', () => [...replicated].every((id) => flow.run.has(id)))
    expect(await callUntilConnected(worker, () => worker.leases.renew(['survivor'], 60_000))).toEqual([])
    await flow.end()
    const role = openClient(sentinel.replica.url)
    expect(await role.info('replication')).toContain('role:master')
  })

  test('in a cluster, the other nodes continue, and the stopped node is used again after its restart', async () => {
    const cluster = await startRedisCluster()
    onTestFinished(() => cluster.stop())
    const broker = await openBroker(cluster.url)
    const queues = await Promise.all(Array.from({ length: 12 }, () => newQueue(broker)))
    for (const queue of queues) await broker.publish(messages(queue, 10))
    const consumer = await consume(broker, queues)
    const run = new Set<string>()
    const work = async (): Promise<void> => {
      const deliveries = await callUntilConnected(broker, () => consumer.receive(5, { signal: never }))
      for (const { id } of deliveries) run.add(id)
      await callUntilConnected(broker, () => consumer.ack(deliveries))
    }
    while (run.size < 20) await work()
    const [, , third] = cluster.masters
    await third?.kill('SIGKILL')
    // A cluster without replicas stops completely when its nodes agree that one is down. Until then, the other nodes work.
    await work().catch(() => {})
    await third?.restart()
    await eventually('every job has run', async () => {
      await work()
      return run.size === 120
    })
  })

  test('a worker on a cluster has one connection to each master, also if the hosts have other names', async () => {
    const cluster = await startRedisCluster()
    onTestFinished(() => cluster.stop())
    const broker = await openBroker(cluster.url.replaceAll('127.0.0.1', 'localhost'))
    const queues = await Promise.all(Array.from({ length: 20 }, () => newQueue(broker)))
    const consumer = await consume(broker, queues)
    for (const queue of queues) await broker.publish(messages(queue, 1))
    expect(await receive(consumer, 20)).toHaveLength(20)
    for (const { url } of cluster.masters) {
      const clients = (await openClient(url).call('CLIENT', 'LIST', 'TYPE', 'normal')) as string
      const pubsub = (await openClient(url).call('CLIENT', 'LIST', 'TYPE', 'pubsub')) as string
      const others = `${clients}${pubsub}`.split('\n').filter((line) => line !== '' && !line.includes('cmd=client'))
      expect(others.length).toBe(1)
    }
  })

  test('calls are redirected if a slot moves to another node', async () => {
    const cluster = await startRedisCluster()
    onTestFinished(() => cluster.stop())
    const broker = await openBroker(cluster.url)
    const queue = await newQueue(broker)
    await broker.publish(messages(queue, 3))
    const clients = cluster.masters.map(({ url }) => openClient(url))
    const [first] = clients
    if (first === undefined) throw new Error('no masters')
    const slot = await first.cluster('KEYSLOT', `zyqueue:{${queue}}:ready`)
    const ids = await Promise.all(clients.map((client) => client.cluster('MYID')))
    const owner = await eventually('the owner of the slot', async () => {
      const counts = await Promise.all(clients.map((client) => client.cluster('COUNTKEYSINSLOT', slot)))
      const index = counts.findIndex((count) => count > 0)
      return index < 0 ? undefined : { index }
    })
    const target = (owner.index + 1) % clients.length
    const [from, to] = [clients[owner.index], clients[target]]
    if (from === undefined || to === undefined) throw new Error('no such master')
    await to.cluster('SETSLOT', slot, 'IMPORTING', ids[owner.index] ?? '')
    await from.cluster('SETSLOT', slot, 'MIGRATING', ids[target] ?? '')
    const keys = await from.cluster('GETKEYSINSLOT', slot, 100)
    const port = cluster.masters[target]?.port ?? 0
    await from.call('MIGRATE', '127.0.0.1', port, '', 0, 5000, 'KEYS', ...keys)
    // Until the slot has moved too, neither node runs a script with several keys, so nothing is stored.
    const error = await broker.publish([message(queue, 'moved')]).catch((error: unknown) => error)
    expect(broker.errorCode(error)).toBe('ZYQ_UNREACHABLE')
    for (const client of clients) await client.cluster('SETSLOT', slot, 'NODE', ids[target] ?? '')
    expect(await callUntilConnected(broker, () => broker.publish([message(queue, 'moved')]))).toEqual([
      { status: 'stored' },
    ])
    const consumer = await consume(broker, [queue])
    expect(await receive(consumer, 4)).toHaveLength(4)
  })
})
