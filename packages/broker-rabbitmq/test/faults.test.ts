import { FaultProxy } from '@zyqueue/broker-test-kit'
import type { Consumer } from '@zyqueue/core/broker'
import { PROMPT_DEAD_LETTERS, startRabbitmq, type RabbitmqServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import {
  bodyOf,
  codeOf,
  consume,
  declared,
  errorOf,
  eventually,
  message,
  never,
  newBroker,
  openBroker,
  openAmqp,
  receive,
  receiveOne,
  store,
  unique,
} from './support.ts'

await describeWithServer('rabbitmq', 'when something breaks', () => {
  let server: RabbitmqServer
  beforeAll(async () => {
    server = await startRabbitmq({ env: PROMPT_DEAD_LETTERS })
  })
  afterAll(() => server?.stop())

  test('what was stored outlives a SIGKILL of the server, and everything comes back', async () => {
    const broker = await openBroker(server.url)
    const queue = await declared(broker)
    await store(
      broker,
      Array.from({ length: 300 }, (_, index) => message(queue, index)),
    )
    await store(broker, [message(queue, 'delayed', { delayMs: 3_000 })])
    const consumer = await consume(broker, [queue], { prefetch: 50 })
    const held = await receive(consumer, 50)
    await consumer.ack(held.slice(0, 25))
    // Before 3.13.6 the newest quorum queue is the one to be lost.
    const newest = await declared(broker)
    await store(broker, [message(newest, 'newest')])

    await server.kill('SIGKILL')
    // What was here already may still be handed out.
    const lost = await eventually('receive rejects', () => rejectionOf(consumer))
    expect(broker.errorCode(lost)).toBe('ZYQ_CONNECTION_LOST')
    expect(await consumer.ack(held.slice(25))).toEqual(held.slice(25).map(() => ({ status: 'lease-lost' })))
    expect(await codeOf(broker, broker.publish([message(queue, 'lost')]))).toBe('ZYQ_CONNECTION_LOST')
    expect(await codeOf(broker, broker.connect())).toBe('ZYQ_UNREACHABLE')
    await consumer.close()

    await server.restart()
    await eventually('the broker is back', () =>
      broker.connect().then(
        () => true,
        () => false,
      ),
    )
    await broker.declare([queue])
    const heir = await consume(broker, [queue], { prefetch: 1_000 })
    const rest = await receive(heir, 276)
    expect(new Set(rest.map(bodyOf))).toEqual(new Set(['delayed', ...Array.from({ length: 275 }, (_, n) => n + 25)]))
    await heir.ack(rest)
    expect(bodyOf(await receiveOne(await consume(broker, [newest])))).toBe('newest')
  })

  test('a connection that is closed by force is lost, and its jobs go to others', async () => {
    const broker = await openBroker(server.url)
    const queue = await declared(broker)
    await store(broker, [message(queue, 'job')])
    const consumer = await consume(broker, [queue])
    await receiveOne(consumer)
    await server.ctl('close_all_connections', 'for the test')
    expect(broker.errorCode(await eventually('receive rejects', () => rejectionOf(consumer)))).toBe(
      'ZYQ_CONNECTION_LOST',
    )
    await consumer.close()
    await broker.connect()
    const again = await receiveOne(await consume(broker, [queue]))
    expect(again).toMatchObject({ deliveryCount: 1 })
  })

  test('a memory alarm: publishes settle, acks go on, a release is stored afterwards', async () => {
    const broker = await openBroker(server.url)
    const queue = await declared(broker)
    await store(broker, [message(queue, 'acked'), message(queue, 'released')])
    const consumer = await consume(broker, [queue])
    const [acked, released] = await receive(consumer, 2)
    if (acked === undefined || released === undefined) throw new Error('nothing came')

    await server.ctl('set_vm_memory_high_watermark', '0')
    onTestFinished(async () => void (await server.ctl('set_vm_memory_high_watermark', '0.4')))
    // The server reports its alarm when the first message comes, and then reads nothing more from the connection.
    const [first] = await broker.publish([message(queue, 'perhaps')])
    expect(first).toMatchObject({ status: 'unknown' })
    const [second] = await broker.publish([message(queue, 'surely not')])
    expect(second).toMatchObject({ status: 'refused', error: { code: 'ZYQ_BROKER_FULL' } })
    expect(await consumer.ack([acked])).toEqual([{ status: 'ok' }])
    const release = () => consumer.release([{ delivery: released, delayMs: 0 }])
    expect(await release()).toMatchObject([{ status: 'unknown', error: { code: 'ZYQ_BROKER_FULL' } }])
    expect(await broker.admin.check()).toContainEqual(expect.objectContaining({ level: 'problem' }))

    await server.ctl('set_vm_memory_high_watermark', '0.4')
    await eventually('jobs are taken again', async () => {
      const [result] = await broker.publish([message(queue, 'after')])
      return result?.status === 'stored'
    })
    // Core repeats the call. Each return would have counted a delivery, and made it a poison job.
    await eventually('the release is stored', async () => (await release())[0]?.status === 'ok')
    const again = await eventually('the released job', async () =>
      (await consumer.receive(1, { signal: never })).find(({ id }) => id === released.id),
    )
    expect(again.deliveryCount).toBe(0)
  })

  test('what is not acknowledged, since the consumer failed meanwhile, is not answered with ok', async () => {
    const broker = await openBroker(server.url)
    const exchange = unique('x')
    const [lost, sound] = [await declared(broker, { exchange, exchangeType: 'fanout' }), await declared(broker)]
    await store(broker, [message(sound, 'job')])
    const consumer = await consume(broker, [lost, sound])
    const delivery = await receiveOne(consumer)
    const amqp = await openAmqp(server.url)
    // So that no other demand asks anything of the queue in the moment in which it is deleted.
    expect(await consumer.receive(1, { signal: never })).toEqual([])

    // A queue that cannot be made again ends the consumer; its channel stays open.
    await amqp.deleteExchange(exchange)
    await amqp.assertExchange(exchange, 'direct')
    // Its copy is not taken before the end of the alarm, which comes as soon as a queue of this name is there.
    const end = unique('end')
    await server.ctl(
      'eval',
      `Alarm = fun(Limit) -> vm_memory_monitor:set_vm_memory_high_watermark(Limit) end,
       Wait = fun Wait() -> timer:sleep(20), case rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"${end}">>)) of
         {ok, _} -> ok; _ -> Wait() end end,
       Alarm(0), spawn(fun() -> Wait(), Alarm(0.4) end), ok.`,
    )
    const releasing = consumer.release([{ delivery, delayMs: 0 }])
    await amqp.deleteQueue(lost.name)
    const failure = await eventually('receive rejects', () => rejectionOf(consumer, 2))
    expect(broker.errorCode(failure)).toBe('ZYQ_TOPOLOGY')
    await amqp.assertQueue(end, { durable: false, autoDelete: true })
    expect(await releasing).toMatchObject([{ status: 'unknown', error: { code: 'ZYQ_TOPOLOGY' } }])
  })

  test('a queue without a leader holds up its own jobs only', async () => {
    const broker = await openBroker(server.url)
    const [stuck, sound] = [await declared(broker), await declared(broker)]
    // A quorum queue is a process of this name; suspended, it is as one without a leader.
    await server.ctl('eval', `sys:suspend('%2F_${stuck.name}').`)
    const busy = {
      status: 'unknown',
      error: { code: 'ZYQ_BROKER_BUSY', message: expect.stringContaining(`queue "${stuck.name}"`) },
    }
    expect(await broker.publish([message(stuck, 1)])).toMatchObject([busy])
    // Now it is known: those behind it, in its batch or in others, are stored.
    const [both, others] = await Promise.all([
      broker.publish([message(stuck, 2), message(sound, 'beside')]),
      broker.publish([message(sound, 'behind')]),
    ])
    expect(both).toMatchObject([busy, { status: 'stored' }])
    expect(others).toEqual([{ status: 'stored' }])
    await server.ctl('eval', `sys:resume('%2F_${stuck.name}').`)
    await eventually(
      'it takes jobs again',
      async () => (await broker.publish([message(stuck, 3)]))[0]?.status === 'stored',
    )
    await store(broker, [message(stuck, 4), message(sound, 'after')])
  })

  test('a queue that is deleted under its consumer is declared and consumed again', async () => {
    const broker = await openBroker(server.url)
    const [queue, other] = [await declared(broker), await declared(broker)]
    const consumer = await consume(broker, [queue, other])
    await store(broker, [message(queue, 'before'), message(other, 'held')])
    const taken = await receive(consumer, 2)
    const amqp = await openAmqp(server.url)
    // So that nothing is asked of the queue in the moment in which it is deleted: 3.10 ends the whole connection over that.
    expect(await consumer.receive(1, { signal: never })).toEqual([])
    await amqp.deleteQueue(queue.name)
    await eventually('it is there again', async () => {
      const [result] = await broker.publish([message(queue, 'after')])
      return result?.status === 'stored'
    })
    expect((await receive(consumer, 1)).map(bodyOf)).toEqual(['after'])
    expect(await consumer.ack(taken)).toEqual([{ status: 'ok' }, { status: 'ok' }])
  })

  test('a job that no queue would take is refused, and its neighbours are stored', async () => {
    const broker = await openBroker(server.url)
    const queue = await declared(broker)
    const nowhere = { name: unique('nowhere'), options: {} }
    const twice = message(nowhere, 2)
    const results = await broker.publish([message(queue, 1), twice, twice, message(queue, 3)])
    expect(results.map(({ status }) => status)).toEqual(['stored', 'refused', 'refused', 'stored'])
    expect(results[1]).toMatchObject({ error: { code: 'ZYQ_UNROUTABLE' } })
    expect((await receive(await consume(broker, [queue]), 2)).map(bodyOf)).toEqual([1, 3])
  })

  test('a peer that falls silent is noticed', async () => {
    await using proxy = await FaultProxy.start(server.port)
    const broker = await openBroker(`amqp://127.0.0.1:${proxy.port}`)
    const queue = await declared(broker)
    const consumer = await consume(broker, [queue])
    await store(broker, [message(queue, 'held')])
    const held = await receiveOne(consumer)
    proxy.fault = 'stall'
    const [[result], [settled]] = await Promise.all([broker.publish([message(queue, 'perhaps')]), consumer.ack([held])])
    expect(result).toMatchObject({ status: 'unknown' })
    expect(settled).toMatchObject({ status: 'unknown' })
    expect(await codeOf(broker, consumer.receive(1, { signal: never }))).toBe('ZYQ_CONNECTION_LOST')
  })

  test('an idle consumer notices by itself that its peer has fallen silent', async () => {
    await using proxy = await FaultProxy.start(server.port)
    const broker = await openBroker(`amqp://127.0.0.1:${proxy.port}`)
    const consumer = await consume(broker, [await declared(broker)])
    proxy.fault = 'stall'
    const error = await eventually('receive rejects', () => rejectionOf(consumer))
    expect(broker.errorCode(error)).toBe('ZYQ_CONNECTION_LOST')
  })

  test('a handler that blocks the event loop for longer than a heartbeat keeps its job', async () => {
    const broker = await openBroker(server.url, 'heartbeat=5&management=off')
    const queue = await declared(broker)
    await store(broker, [message(queue, 'long')])
    const consumer = await consume(broker, [queue])
    const delivery = await receiveOne(consumer)
    const until = performance.now() + 7_000
    while (performance.now() < until);
    expect(await consumer.ack([delivery])).toEqual([{ status: 'ok' }])
  })

  test('of several hosts the first that answers is taken', async () => {
    const broker = newBroker(`amqp://guest:guest@127.0.0.1:1,127.0.0.1:${server.port}/`)
    await broker.connect()
    await store(broker, [message(await declared(broker), 'here')])
  })

  test('a host that accepts and says nothing is given up', async () => {
    await using proxy = await FaultProxy.start(server.port)
    proxy.fault = 'stall'
    const broker = newBroker(`amqp://127.0.0.1:${proxy.port},127.0.0.1:${server.port}?connectTimeoutMs=5000`)
    await broker.connect()
    const alone = newBroker(`amqp://127.0.0.1:${proxy.port}?connectTimeoutMs=300`)
    expect(await codeOf(alone, alone.connect())).toBe('ZYQ_UNREACHABLE')
  })

  test('what the server refuses at the door is ZYQ_AUTH, and the password is not told', async () => {
    for (const url of [
      `amqp://guest:s3cret@127.0.0.1:${server.port}`,
      `amqp://guest:guest@127.0.0.1:${server.port}/s3cret`,
    ]) {
      const broker = newBroker(url)
      const error = await errorOf(broker.connect())
      expect(broker.errorCode(error)).toBe('ZYQ_AUTH')
      if (url.endsWith('s3cret')) continue
      expect(`${String(error)}${JSON.stringify(error)}${String(Reflect.get(Object(error), 'cause'))}`).not.toContain(
        's3cret',
      )
      expect(broker.location).not.toContain('s3cret')
    }
  })
})

/** What a `receive` rejects with, if it does. */
function rejectionOf(consumer: Consumer, max = 100): Promise<unknown> {
  return consumer.receive(max, { signal: never }).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
}
