import { expect, test, vi } from 'vitest'
import { openBroker } from '../../src/connection/open-broker.ts'
import { ZyQueueError } from '../../src/errors.ts'
import { scripted, type ScriptedBroker } from '../support.ts'

class EngineError extends Error {}

/** The broker fails with the engine's own errors. */
function failing(how: 'reject' | 'throw'): ScriptedBroker {
  return scripted({
    check: () => {
      if (how === 'throw') throw new EngineError('ECONNRESET')
      return Promise.reject(new EngineError('ECONNRESET'))
    },
    close: () => Promise.reject(new EngineError('EPIPE')),
  })
}

test.each(['reject', 'throw'] as const)(
  'if the calls of an adapter %s, those of an open broker reject with ZyQueueError',
  async (how) => {
    const broker = await openBroker({ server: failing(how) })
    for (const call of [() => broker.admin.check(), () => broker.close()]) {
      const error: unknown = await call().catch((thrown: unknown) => thrown)
      expect(error).toBeInstanceOf(ZyQueueError)
      expect(error).toMatchObject({ cause: expect.any(EngineError) })
    }
  },
)

test.each([
  ['an unknown option', { connexion: 'redis://x' }, /did you mean "connection"\?/],
  ['a text', 'redis://x', /openBroker: /],
  ['a number for the server', { server: 5 }, /server: expected the name of a broker/],
  ['null', null, /openBroker: /],
])('%s instead of a choice rejects with ConfigError', async (_what, choice, message) => {
  const opening: Promise<unknown> = Reflect.apply(openBroker, undefined, [choice])
  await expect(opening).rejects.toMatchObject({ code: 'ZYQ_CONFIG', message: expect.stringMatching(message) })
})

test('a plugin that throws rejects with ZyQueueError', async () => {
  const create = (): never => {
    throw new EngineError('no native module')
  }
  const opening = openBroker({ server: { ...scripted(), create } })
  await expect(opening).rejects.toMatchObject({ code: 'ZYQ_BROKER', cause: expect.any(EngineError) })
})

test('without a choice it opens the broker of the environment', async () => {
  vi.stubEnv('ZYQUEUE_SERVER', 'not-installed')
  await expect(openBroker()).rejects.toMatchObject({ code: 'ZYQ_BROKER_NOT_FOUND' })
  vi.unstubAllEnvs()
})
