import { afterEach, expect, test, vi } from 'vitest'
import { createConnection } from '../../src/connection/connection.ts'
import type { BrokerPlugin } from '../../src/contract/index.ts'
import type { BrokerChoice } from '../../src/connection/discovery.ts'
import { inherit } from '../../src/connection/inherit.ts'
import { producers } from '../../src/producer/producers.ts'
import { Task } from '../../src/tasks/task.ts'
import { memoryBroker } from '../../src/testing/memory-plugin.ts'
import { scripted, uniqueName } from '../support.ts'

afterEach(async () => {
  vi.unstubAllEnvs()
  await producers.close()
})

function environment(server: string, connection: string): void {
  vi.stubEnv('ZYQUEUE_SERVER', server)
  vi.stubEnv('ZYQUEUE_CONNECTION', connection)
}

async function addressOf(choice: BrokerChoice): Promise<string | undefined> {
  const connection = await createConnection(choice)
  await connection.close()
  return connection.address.connection
}

const memory: BrokerPlugin = memoryBroker()

test.each<[string, BrokerChoice, BrokerChoice, BrokerChoice]>([
  ['no choice means the one behind', {}, { connection: 'redis://h' }, { connection: 'redis://h' }],
  ['a connection says all', { connection: 'redis://h' }, { server: 'sqlite' }, { connection: 'redis://h' }],
  ['so do both', { server: 's', connection: 'c' }, { connection: 'redis://h' }, { server: 's', connection: 'c' }],
  ['a server takes the connection', { server: 's' }, { connection: 's://h' }, { server: 's', connection: 's://h' }],
  ['without a scheme too', { server: 's' }, { connection: 'h:1' }, { server: 's', connection: 'h:1' }],
  ['and of the same server', { server: 's' }, { server: 's', connection: 'h:1' }, { server: 's', connection: 'h:1' }],
  ['there may be none', { server: 's' }, { server: 'other' }, { server: 's' }],
  ['a plugin that reads none', { server: scripted() }, { connection: 's://h' }, {}],
])('%s', (_, choice, behind, meant) => {
  expect(inherit(choice, behind, 'X')).toMatchObject(meant)
})

test('a server alone uses ZYQUEUE_CONNECTION and not its default connection', async () => {
  environment('', 'memory:elsewhere')
  expect(await addressOf({ server: memory })).toBe('memory:elsewhere')
  expect(await addressOf({ server: memory, connection: 'memory:own' })).toBe('memory:own')
  expect(await addressOf({ server: scripted() })).toBe(undefined)
  environment('memory', 'memory:elsewhere')
  expect(await addressOf({ server: memory })).toBe('memory:elsewhere')
})

test.each([
  ['', 'redis://:secret@h', 'redis:'],
  ['redis', 'redis://:secret@h', 'redis:'],
  ['gearman', 'secret:4730', 'gearman'],
])('a server that contradicts the environment (%s, %s) is refused', async (server, connection, named) => {
  environment(server, connection)
  const task = new Task<number>(uniqueName(), { server: memory })
  for (const refused of [createConnection({ server: memory }), task.submit(1)]) {
    const error: unknown = await refused.catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'ZYQ_CONFIG', message: expect.stringContaining('server memory contradicts') })
    const { message } = error instanceof Error ? error : expect.fail('no error')
    expect(message).toContain('ZYQUEUE_CONNECTION')
    expect(message).toContain(named)
    expect(message).toContain('-C')
    expect(message).not.toContain('secret')
  }
})

test('the server of a submit uses the connection of its task, or is refused', async () => {
  environment('', 'redis://h')
  const name = uniqueName()
  const task = new Task<number>(name, { connection: `memory:${name}`, server: memory })
  await task.submit(1, { server: memory })
  const same = await createConnection({ server: memory, connection: `memory:${name}` })
  await same.open()
  expect(await same.broker.admin.queues()).toMatchObject([{ name, ready: 1 }])
  await same.close()
  const other: BrokerPlugin = { ...memory, name: 'other', schemes: ['other'] }
  await expect(task.submit(1, { server: other })).rejects.toMatchObject({
    code: 'ZYQ_CONFIG',
    message: expect.stringContaining(`server other contradicts the connection in the task ${name}`),
  })
})
