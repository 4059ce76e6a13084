/** Passwords, users, databases, prefixes and TLS. */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePort, startRedis, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { RedisBroker } from '../../src/broker.ts'
import { message, newQueue, openBroker, openClient } from '../support.ts'

await describeWithServer('redis', 'access', () => {
  let server: TestServer
  beforeAll(async () => {
    const config = 'requirepass s3cret-of-all\nuser worker on >s3cret-of-one ~* &* +@all'
    server = await startRedis({ config })
  })
  afterAll(() => server.stop())

  test.each([
    ['a wrong password', (port: number) => `redis://:s3cret-guess@127.0.0.1:${port}`],
    ['a wrong user', (port: number) => `redis://unknown:s3cret-guess@127.0.0.1:${port}`],
    ['no password', (port: number) => `redis://127.0.0.1:${port}`],
  ])('%s rejects with ZYQ_AUTH, and the error contains no secret', async (_, connection) => {
    const broker = new RedisBroker({ connection: connection(server.port), baseDir: '/' })
    onTestFinished(() => broker.close())
    const error = await broker.connect().catch((error: unknown) => error)
    expect(broker.errorCode(error)).toBe('ZYQ_AUTH')
    expect(everythingIn(error)).not.toContain('s3cret')
    expect(broker.location).not.toContain('s3cret')
  })

  test.each([
    ['the password', (port: number) => `redis://:s3cret-of-all@127.0.0.1:${port}`],
    ['a user and its password', (port: number) => `redis://worker:s3cret-of-one@127.0.0.1:${port}/3`],
  ])('%s connects', async (_, connection) => {
    const broker = await openBroker(connection(server.port))
    const queue = await newQueue(broker)
    expect(await broker.publish([message(queue, 'a')])).toEqual([{ status: 'stored' }])
  })

  test('databases and prefixes separate queues', async () => {
    const base = `redis://:s3cret-of-all@127.0.0.1:${server.port}`
    const brokers = await Promise.all([`${base}/5`, `${base}/6`, `${base}/6?prefix=other`].map(openBroker))
    for (const [index, broker] of brokers.entries()) {
      await broker.declare([{ name: 'q', options: {} }])
      await broker.publish(Array.from({ length: index + 1 }, (_, job) => message('q', `apart-${job}`)))
    }
    expect(await Promise.all(brokers.map((broker) => broker.admin.queues()))).toMatchObject([
      [{ name: 'q', ready: 1 }],
      [{ name: 'q', ready: 2 }],
      [{ name: 'q', ready: 3 }],
    ])
    const client = openClient(`${base}/6`)
    expect((await client.keys('*')).every((key) => /^(zyqueue|other):/.test(key))).toBe(true)
  })
})

await describeWithServer('redis', 'TLS', () => {
  let server: TestServer
  let folder: string
  let tlsPort: number
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'zyqueue-tls-'))
    const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
    const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
    await promisify(execFile)('openssl', [...request, ...subject, '-keyout', key, '-out', certificate])
    tlsPort = await freePort()
    const files = `tls-cert-file ${certificate}\ntls-key-file ${key}\ntls-ca-cert-file ${certificate}`
    server = await startRedis({ config: `tls-port ${tlsPort}\ntls-auth-clients no\n${files}` })
  })
  afterAll(async () => {
    await server.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  test('connects to a server with a trusted certificate', async () => {
    const broker = await openBroker(`rediss://127.0.0.1:${tlsPort}?ca=${join(folder, 'cert.pem')}`)
    const queue = await newQueue(broker)
    expect(await broker.publish([message(queue, 'a')])).toEqual([{ status: 'stored' }])
    expect(broker.location).toBe(`127.0.0.1:${tlsPort} (TLS)`)
  })

  test('an untrusted certificate is refused, and the error names the reason', async () => {
    const broker = new RedisBroker({ connection: `rediss://localhost:${tlsPort}`, baseDir: '/' })
    onTestFinished(() => broker.close())
    const error = await broker.connect().catch((error: unknown) => error)
    expect(broker.errorCode(error)).toBe('ZYQ_UNREACHABLE')
    expect(String(error)).toMatch(/self.signed certificate/)
  })

  test('a missing certificate file is an error that names the file', async () => {
    const broker = new RedisBroker({ connection: `rediss://localhost:${tlsPort}?ca=nowhere.pem`, baseDir: folder })
    onTestFinished(() => broker.close())
    await expect(broker.connect()).rejects.toThrow(/nowhere\.pem/)
  })
})

function everythingIn(error: unknown): string {
  if (!(error instanceof Error)) return JSON.stringify(error)
  const own = Object.getOwnPropertyNames(error).map((name) => JSON.stringify(Reflect.get(error, name)))
  return [String(error), error.stack, ...own, error.cause === undefined ? '' : everythingIn(error.cause)].join('\n')
}
