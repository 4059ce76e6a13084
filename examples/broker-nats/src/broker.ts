import { AckPolicy, DiscardPolicy, JetStreamApiError, RetentionPolicy, StorageType } from '@nats-io/jetstream'
import { errors, nanos, type Subscription } from '@nats-io/transport-node'
import {
  BrokerError,
  type Broker,
  type BrokerAdmin,
  type BrokerCapabilities,
  type ConnectOptions,
  type Consumer,
  type ConsumeOptions,
  type OutboundMessage,
  type PublishResult,
  type QueueSpec,
} from '@zyqueue/core/broker'
import { createAdmin } from './admin.ts'
import { readConnection, type NatsTarget } from './options.ts'
import { NatsConsumer } from './consumer.ts'
import { API_ERRORS, closed, connectionLost, errorCode, refuseDelay, refuseOptions } from './errors.ts'
import { DEAD, DEAD_SUBJECTS, durableOf, JOB_SUBJECTS, JOBS, jobSubject, ROLL_CALL } from './names.ts'
import { Session } from './session.ts'

/** The server's usual limit for a message, 1 MiB, less room for the headers. */
const MAX_BODY_BYTES = 1024 * 1024 - 64 * 1024
const REMEMBERED_MS = 600_000

const CAPABILITIES: BrokerCapabilities = Object.freeze({
  durable: true,
  delay: 'none',
  lease: 'connection',
  deadLetter: 'emulated',
  deliveryCount: 'native',
  priorities: 1,
  release: 'republish',
  idempotentPublish: false,
  maxBatch: 500,
  maxBodyBytes: MAX_BODY_BYTES,
})

export class NatsBroker implements Broker {
  readonly name = 'nats'
  readonly capabilities: BrokerCapabilities = CAPABILITIES
  readonly location: string
  readonly admin: BrokerAdmin
  readonly errorCode = errorCode
  readonly #target: NatsTarget
  readonly #consumers = new Set<NatsConsumer>()
  #session: Session | undefined
  #rollCall: Subscription | undefined
  #connecting: Promise<void> | undefined
  #closing: Promise<void> | undefined

  /** Throws `ZYQ_CONNECTION_STRING`. */
  constructor(options: ConnectOptions) {
    this.#target = readConnection(options.connection)
    this.location = this.#target.location
    this.admin = createAdmin(() => this.#open())
  }

  async connect({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    if (this.#closing !== undefined) throw closed()
    signal?.throwIfAborted()
    if (this.#session?.isOpen === true) return
    this.#connecting ??= this.#connect().finally(() => (this.#connecting = undefined))
    await this.#connecting
  }

  async declare(queues: readonly QueueSpec[]): Promise<void> {
    for (const { options } of queues) refuseOptions(options)
    const { manager } = this.#open()
    await manager.streams.add({
      name: JOBS,
      subjects: [JOB_SUBJECTS],
      retention: RetentionPolicy.Workqueue,
      storage: StorageType.File,
      discard: DiscardPolicy.New,
      duplicate_window: nanos(REMEMBERED_MS),
      // Whatever is stored wakes those that wait for it, whoever has stored it.
      republish: { src: JOB_SUBJECTS, dest: 'zyqueue.wake.{{wildcard(1)}}', headers_only: true },
    })
    await manager.streams.add({ name: DEAD, subjects: [DEAD_SUBJECTS], storage: StorageType.File, allow_direct: true })
    for (const name of new Set(queues.map((queue) => queue.name))) await this.#declareConsumer(name)
  }

  async publish(batch: readonly OutboundMessage[]): Promise<readonly PublishResult[]> {
    const session = this.#open()
    return Promise.all(batch.map((message) => publish(session, message)))
  }

  async consume(options: ConsumeOptions): Promise<Consumer> {
    for (const queue of options.queues) refuseOptions(queue.options)
    const consumer = new NatsConsumer(this.#open(), options, this.#target.ackWaitMs, () =>
      this.#consumers.delete(consumer),
    )
    this.#consumers.add(consumer)
    return consumer
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #connect(): Promise<void> {
    const session = await Session.open(this.#target.options)
    if (this.#closing !== undefined) {
      await session.close()
      throw closed()
    }
    this.#session = session
    this.#rollCall = session.connection.subscribe(ROLL_CALL, {
      callback: (_, message) => {
        for (const { stats } of this.#consumers) message.respond(JSON.stringify(stats))
      },
    })
  }

  /** The server would change the consumer of others that differs, so it is looked at first. */
  async #declareConsumer(queue: string): Promise<void> {
    const { consumers } = this.#open().manager
    const ack_wait = nanos(this.#target.ackWaitMs)
    const found = await consumers.info(JOBS, durableOf(queue)).catch((error: unknown) => {
      if (error instanceof JetStreamApiError && error.code === API_ERRORS.consumerNotFound) return undefined
      throw error
    })
    if (found !== undefined && found.config.ack_wait !== ack_wait) {
      throw new BrokerError('ZYQ_TOPOLOGY', `The queue "${queue}" has another ackWait than this connection says`)
    }
    if (found !== undefined) return
    await consumers.add(JOBS, {
      durable_name: durableOf(queue),
      description: queue,
      filter_subject: jobSubject(queue),
      ack_policy: AckPolicy.Explicit,
      ack_wait,
      max_ack_pending: -1,
      max_waiting: 10_000,
    })
  }

  async #close(): Promise<void> {
    await this.#connecting?.catch(() => undefined)
    this.#rollCall?.unsubscribe()
    await Promise.allSettled([...this.#consumers].map((consumer) => consumer.close()))
    await this.#session?.close()
  }

  #open(): Session {
    if (this.#closing !== undefined) throw closed()
    if (this.#session?.isOpen !== true) throw connectionLost()
    return this.#session
  }
}

async function publish(session: Session, message: OutboundMessage): Promise<PublishResult> {
  const { queue, id, body, headers, priority } = message
  try {
    refuseOptions(message.options)
    refuseDelay(message.delayMs)
    if (body.byteLength > MAX_BODY_BYTES) {
      throw new BrokerError('ZYQ_BODY_TOO_LARGE', `The job has ${body.byteLength} bytes; NATS takes ${MAX_BODY_BYTES}`)
    }
  } catch (error) {
    return { status: 'refused', error }
  }
  try {
    await session.store(jobSubject(queue), body, { id, headers, priority, deliveries: 0 }, id)
    return { status: 'stored' }
  } catch (error) {
    // The server has answered that it did not store it, or nobody was there to store it.
    const refused = error instanceof JetStreamApiError || error instanceof errors.NoRespondersError
    return { status: refused ? 'refused' : 'unknown', error }
  }
}
