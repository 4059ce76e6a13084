import { AckPolicy, DiscardPolicy, RetentionPolicy, StorageType } from '@nats-io/jetstream'
import { nanos } from '@nats-io/transport-node'
import {
  BrokerBase,
  BrokerError,
  refuseUnknownOptions,
  type Broker,
  type BrokerAdmin,
  type BrokerCapabilities,
  type ConnectOptions,
  type Consumer,
  type ConsumeOptions,
  type MessageLeases,
  type OutboundMessage,
  type PublishResult,
  type QueueSpec,
} from '@zyqueue/core/broker'
import { createAdmin } from './admin.ts'
import { NatsConsumer } from './consumer.ts'
import { errorCode, unlessMissing } from './errors.ts'
import { DEAD, DEAD_SUBJECTS, durableOf, JOB_SUBJECTS, JOBS, jobSubject } from './names.ts'
import { readConnection, type NatsTarget } from './options.ts'
import { MAX_BODY_BYTES, publishMessage } from './publish.ts'
import { Session } from './session.ts'

/** How long the server recognizes a message that it stored: a copy for a release or a dead letter is stored once. */
const DUPLICATE_WINDOW_MS = 600_000

const CAPABILITIES: BrokerCapabilities = Object.freeze({
  durable: true,
  delay: 'none',
  deadLetter: 'emulated',
  deliveryCount: 'native',
  priorities: 1,
  release: 'republish',
  idempotentPublish: false,
  maxBatch: 500,
  maxBodyBytes: MAX_BODY_BYTES,
})

export class NatsBroker extends BrokerBase<Session> implements Broker {
  readonly name = 'nats'
  readonly capabilities: BrokerCapabilities = CAPABILITIES
  readonly location: string
  readonly leases: MessageLeases
  readonly admin: BrokerAdmin
  readonly errorCode = errorCode
  readonly #target: NatsTarget

  /** Throws `ZYQ_CONNECTION_STRING`. */
  constructor(options: ConnectOptions) {
    super('NATS')
    this.#target = readConnection(options.connection)
    this.location = this.#target.location
    this.leases = { kind: 'message', timeoutMs: this.#target.ackWaitMs }
    this.admin = createAdmin(() => this.connection)
  }

  async declare(queues: readonly QueueSpec[]): Promise<void> {
    for (const { options } of queues) refuseUnknownOptions('NATS', options)
    const { streams } = this.connection.manager
    await streams.add({
      name: JOBS,
      subjects: [JOB_SUBJECTS],
      retention: RetentionPolicy.Workqueue,
      storage: StorageType.File,
      discard: DiscardPolicy.New,
      duplicate_window: nanos(DUPLICATE_WINDOW_MS),
      // Wakes the consumers that wait for a job of the queue.
      republish: { src: JOB_SUBJECTS, dest: 'zyqueue.wake.{{wildcard(1)}}', headers_only: true },
    })
    await streams.add({ name: DEAD, subjects: [DEAD_SUBJECTS], storage: StorageType.File, allow_direct: true })
    for (const name of new Set(queues.map((queue) => queue.name))) await this.#declareConsumer(name)
  }

  async publish(batch: readonly OutboundMessage[]): Promise<readonly PublishResult[]> {
    const session = this.connection
    return Promise.all(batch.map((message) => publishMessage(session, message)))
  }

  async consume(options: ConsumeOptions): Promise<Consumer> {
    for (const queue of options.queues) refuseUnknownOptions('NATS', queue.options)
    const session = this.connection
    return this.addConsumer(async (onClosed) => new NatsConsumer(session, options, this.#target.ackWaitMs, onClosed))
  }

  protected override openConnection(): Promise<Session> {
    return Session.open(this.#target.options)
  }

  protected override isOpen(session: Session): boolean {
    return session.isOpen
  }

  protected override closeConnection(session: Session): Promise<void> {
    return session.close()
  }

  /** `add` would change a consumer that differs, so look first. */
  async #declareConsumer(queue: string): Promise<void> {
    const { consumers } = this.connection.manager
    const ack_wait = nanos(this.#target.ackWaitMs)
    const found = await unlessMissing(consumers.info(JOBS, durableOf(queue)))
    if (found !== undefined) {
      if (found.config.ack_wait === ack_wait) return
      throw new BrokerError(
        'ZYQ_TOPOLOGY',
        `The queue "${queue}" exists with another ackWait. Use the same in all places`,
      )
    }
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
}
