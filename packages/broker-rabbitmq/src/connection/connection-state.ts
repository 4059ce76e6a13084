import { BrokerError } from '@zyqueue/core/broker'
import { Catalog } from '../admin/catalog.ts'
import { DelayLevels } from '../publish/delay-levels.ts'
import { Publisher } from '../publish/publisher.ts'
import type { Address } from './address.ts'
import { AmqpConnection } from './amqp-connection.ts'
import { DeclareChannel } from './declare-channel.ts'

/**
 * Two connections and what is known through them. A server in an alarm reads nothing from a connection that publishes, so acks
 * have a connection of their own. If that one ends, the state ends with it.
 */
export interface ConnectionState {
  /** For everything but publishing. */
  readonly connection: AmqpConnection
  readonly declareChannel: DeclareChannel
  readonly publisher: Publisher
  readonly delayLevels: DelayLevels
  readonly catalog: Catalog
  close(): Promise<void>
}

export async function openConnectionState(address: Address, signal: AbortSignal): Promise<ConnectionState> {
  const connection = await AmqpConnection.open(address, 'zyqueue consumes', signal)
  const end = new AbortController()
  const declareChannel = new DeclareChannel(connection)
  const delayLevels = new DelayLevels(declareChannel)
  const publisher = new Publisher(
    () => AmqpConnection.open(address, 'zyqueue publishes', end.signal),
    () => delayLevels.forget(),
  )
  const catalog = new Catalog(connection, declareChannel, publisher)
  return {
    connection,
    declareChannel,
    publisher,
    delayLevels,
    catalog,
    async close() {
      end.abort(new BrokerError('ZYQ_CLOSED', 'The RabbitMQ broker was closed'))
      await publisher.close()
      await connection.close()
    },
  }
}
