import { expect, test } from 'vitest'
import { BrokerBase } from '../../src/adapter/broker-base.ts'
import type { Consumer } from '../../src/contract/consumer.ts'

class TestBroker extends BrokerBase<object> {
  constructor() {
    super('test')
  }

  consume(open: (onClosed: () => void) => Promise<Consumer>): Promise<Consumer> {
    return this.addConsumer(open)
  }

  protected override async openConnection(): Promise<object> {
    return {}
  }

  protected override isOpen(): boolean {
    return true
  }

  protected override async closeConnection(): Promise<void> {}
}

test('a consumer that closes itself while it opens rejects with its own error', async () => {
  const broker = new TestBroker()
  const consuming = broker.consume(async (onClosed) => {
    onClosed()
    throw new Error('no server answers')
  })
  await expect(consuming).rejects.toThrow('no server answers')
  expect(broker.consumers.size).toBe(0)
  await broker.close()
})
