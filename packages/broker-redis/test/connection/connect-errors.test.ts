/** Why a connection cannot be opened: each reason has its own words and a code that fits. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createServer as createTlsServer } from 'node:tls'
import { createLogger, createWorker, producers, queueJob } from '@zyqueue/core'
import { freePort, startGearmand, startRedis, startRedisCluster, type TestServer } from '@zyqueue/test-servers'
import { describeWithServer } from '@zyqueue/test-servers/vitest'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { RedisBroker } from '../../src/broker.ts'
import redis from '../../src/index.ts'
import { eventually, openClient } from '../support.ts'

const SECRET = 's3cret'

/** The code and the message of a failed connect. The error contains no password. */
async function connectError(connection: string): Promise<{ code: unknown; own: unknown; message: string }> {
  const broker = new RedisBroker({ connection, baseDir: '/' })
  onTestFinished(() => broker.close())
  const error = await broker.connect().then(
    () => new Error('it connected'),
    (thrown: unknown) => Object(thrown),
  )
  expect(`${String(error)} ${String(error.cause)} ${error.stack}`).not.toContain(SECRET)
  return { code: broker.errorCode(error), own: error.code, message: error.message }
}

async function listen(server: Server): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => sockets.add(socket.on('error', () => {})))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** Answers the first bytes of each client with `answer`, or greets it. */
function answering(answer: string | ((request: string) => string), greeting = ''): Server {
  return createServer((socket) => {
    if (greeting !== '') socket.write(greeting)
    socket.on('data', (data) => socket.write(typeof answer === 'string' ? answer : answer(String(data))))
  })
}

describe('a server of another kind', () => {
  test.each<[string, () => Server, RegExp]>([
    [
      'HTTP',
      () => createHttpServer((_, response) => response.end('page')),
      /is not Redis: it answers like an HTTP server/,
    ],
    ['memcached', () => answering('ERROR\r\n'), /like a memcached server/],
    ['AMQP', () => answering('AMQP\0\0\u0009\u0001'), /like an AMQP server/],
    ['NATS', () => answering("-ERR 'Unknown'\r\n", 'INFO {"server_id":"x"}\r\n'), /like a NATS server/],
    ['SSH', () => answering('', 'SSH-2.0-OpenSSH_9.2\r\n'), /like an SSH server/],
    ['TLS', () => answering('\u0015\u0003\u0001\0\u0002\u0002\u0046'), /like a TLS server/],
    ['any other', () => answering('', '220 mail.example ESMTP\r\n'), /it sent "220 mail\.example ESMTP"/],
    ['one that repeats the password', () => answering((request) => `what is ${request}?`), /it repeats what it gets/],
  ])('%s', async (_, start, words) => {
    const error = await connectError(`redis://:${SECRET}@127.0.0.1:${await listen(start())}`)
    expect(error).toMatchObject({ code: 'ZYQ_UNREACHABLE', message: expect.stringMatching(words) })
    expect(error.message).toContain('Correct the host or port')
  })

  test('one that closes the connection', async () => {
    const port = await listen(createServer((socket) => socket.end()))
    expect(await connectError(`redis://127.0.0.1:${port}`)).toMatchObject({
      code: 'ZYQ_UNREACHABLE',
      message: expect.stringMatching(/closed the connection without an answer\. If it expects TLS/),
    })
  })

  test('one that does not answer', async () => {
    const port = await listen(createServer((socket) => socket.resume()))
    expect(await connectError(`redis://127.0.0.1:${port}`)).toMatchObject({
      code: 'ZYQ_UNREACHABLE',
      message: expect.stringMatching(/accepts connections, but does not answer/),
    })
  })

  test('none', async () => {
    const port = await freePort()
    expect(await connectError(`redis://127.0.0.1:${port}`)).toMatchObject({
      code: 'ZYQ_UNREACHABLE',
      message: `Cannot connect to Redis at 127.0.0.1:${port}: connect ECONNREFUSED 127.0.0.1:${port}`,
    })
    const { message } = await connectError(`redis://localhost:${port}`)
    expect(message).toMatch(/Cannot connect to Redis at localhost:\d+: .*ECONNREFUSED/)
  })

  test.each([
    ['refuses', "-ERR unknown command 'HELLO'\r\n", /does not know HELLO\. Use Redis 6\.2 or later\. A proxy/],
    ['answers in RESP2', '+OK\r\n', /does not speak RESP3/],
  ])('a proxy that %s HELLO', async (_, answer, words) => {
    const port = await listen(answering(answer))
    for (const login of ['', `user:${SECRET}@`]) {
      const error = await connectError(`redis://${login}127.0.0.1:${port}`)
      expect(error).toMatchObject({ code: 'ZYQ_BROKER', message: expect.stringMatching(words) })
    }
  })

  test('a server in protected mode', async () => {
    const port = await listen(answering('', '-DENIED Redis is running in protected mode because\r\n'))
    expect(await connectError(`redis://127.0.0.1:${port}`)).toMatchObject({
      code: 'ZYQ_AUTH',
      message: expect.stringMatching(/is in protected mode/),
    })
  })
})

await describeWithServer('gearmand', 'a Gearman server', () => {
  test('is named', async () => {
    await using server = await startGearmand({ persistent: false })
    expect(await connectError(`redis://127.0.0.1:${server.port}`)).toMatchObject({
      code: 'ZYQ_UNREACHABLE',
      message: expect.stringMatching(/like a Gearman server/),
    })
  })
})

await describeWithServer('redis', 'a Redis server with another role', () => {
  test('a sentinel on the port of a server, and a server on the port of a sentinel', async () => {
    await using sentinel = await startRedis({ args: ['--sentinel'] })
    expect(await connectError(sentinel.url)).toMatchObject({
      own: 'ZYQ_CONNECTION_STRING',
      message: expect.stringMatching(/is a sentinel, which stores no jobs\. .*redis\+sentinel:\/\//),
    })
    await using server = await startRedis()
    expect(await connectError(`redis+sentinel://127.0.0.1:${server.port}/main`)).toMatchObject({
      own: 'ZYQ_CONNECTION_STRING',
      message: expect.stringMatching(/is no sentinel/),
    })
    expect(await connectError(`redis+cluster://127.0.0.1:${server.port}`)).toMatchObject({
      own: 'ZYQ_CONNECTION_STRING',
      message: expect.stringMatching(/is no node of a Redis Cluster/),
    })
  })

  test('a node of a Cluster on the port of a server', async () => {
    await using cluster = await startRedisCluster()
    const [node] = cluster.masters
    expect(await connectError(node?.url ?? '')).toMatchObject({
      own: 'ZYQ_CONNECTION_STRING',
      message: expect.stringMatching(/is a node of a Redis Cluster\. .*redis\+cluster:\/\//),
    })
  })
})

await describeWithServer('redis', 'a Redis server that refuses the login', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startRedis({ config: `user app on >${SECRET}%41 ~* &* +@all\nuser default off` })
  })
  afterAll(() => server.stop())

  test('no password', async () => {
    expect(await connectError(server.url)).toMatchObject({
      code: 'ZYQ_AUTH',
      message: expect.stringMatching(/requires a password, and the connection string has none/),
    })
  })

  test('a password with a % that was not percent-encoded', async () => {
    expect(await connectError(`redis://app:${SECRET}%41@127.0.0.1:${server.port}`)).toMatchObject({
      code: 'ZYQ_AUTH',
      message: expect.stringMatching(/refused the user app or the password.* write %25/),
    })
    const encoded = new RedisBroker({
      connection: `redis://app:${SECRET}%2541@127.0.0.1:${server.port}`,
      baseDir: '/',
    })
    await encoded.connect()
    await encoded.close()
  })
})

await describeWithServer('redis', 'a Redis server without a free connection', () => {
  test('is waited for, by a submit and by a worker', async () => {
    await using server = await startRedis({ config: 'maxclients 1' })
    const only = openClient(server.url)
    await only.ping()
    expect(await connectError(server.url)).toMatchObject({
      code: 'ZYQ_BROKER_BUSY',
      message: expect.stringMatching(/has no free connection: maxclients is reached/),
    })
    const ran: unknown[] = []
    onTestFinished(() => producers.close())
    const task = queueJob({ name: 'full', server: redis, connection: server.url }, (_worker, job: { data: string }) => {
      ran.push(job.data)
    })
    let refused = Number(/rejected_connections:(\d+)/.exec(await only.info('stats'))?.[1])
    const isRefusedAgain = async (): Promise<boolean> => {
      const now = Number(/rejected_connections:(\d+)/.exec(await only.info('stats'))?.[1])
      return now >= refused + 2
    }
    const submitted = task.submit('a')
    await eventually('the submit was refused, and tried again', isRefusedAgain)
    await only.config('SET', 'maxclients', '2')
    await submitted
    refused = Number(/rejected_connections:(\d+)/.exec(await only.info('stats'))?.[1])
    const worker = createWorker({ tasks: [task], logger: createLogger({ destination: { write: () => {} } }) })
    onTestFinished(() => worker.close())
    const started = worker.start()
    await eventually('the worker was refused, and tried again', isRefusedAgain)
    await only.config('SET', 'maxclients', '100')
    await started
    await eventually('the job has run', () => ran.length === 1)
  })
})

await describeWithServer('redis', 'TLS', () => {
  let server: TestServer
  let folder: string
  let tlsPort: number
  const file = (name: string): string => join(folder, name)
  const openssl = (command: string): Promise<unknown> =>
    promisify(execFile)('openssl', command.split(' '), { cwd: folder })

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'zyqueue-tls-'))
    const key = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem'
    await openssl(`req -x509 ${key} -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -out cert.pem`)
    await openssl('req -new -key key.pem -subj /CN=localhost -out request.pem')
    await openssl('x509 -req -in request.pem -signkey key.pem -days -1 -out expired.pem')
    tlsPort = await freePort()
    const files = `tls-cert-file ${file('cert.pem')}\ntls-key-file ${file('key.pem')}\ntls-ca-cert-file ${file('cert.pem')}`
    server = await startRedis({ config: `tls-port ${tlsPort}\n${files}` })
  })
  afterAll(async () => {
    await server.stop()
    rmSync(folder, { recursive: true, force: true })
  })
  const serverOptions = (certificate: string) => ({
    key: readFileSync(file('key.pem')),
    cert: readFileSync(file(certificate)),
  })

  test('plain to the TLS port of Redis, and of an HTTP server', async () => {
    const https = await listen(createHttpsServer(serverOptions('cert.pem')))
    for (const port of [tlsPort, https]) {
      expect(await connectError(`redis://:${SECRET}@127.0.0.1:${port}`)).toMatchObject({
        code: 'ZYQ_UNREACHABLE',
        message: expect.stringMatching(/without an answer\. If it expects TLS, begin .* rediss:\/\//),
      })
    }
  })

  test('TLS to the plain port of Redis, of an HTTP server, and of one that closes', async () => {
    const http = await listen(createHttpServer())
    const closing = await listen(createServer((socket) => socket.end()))
    for (const port of [server.port, http, closing]) {
      expect(await connectError(`rediss://:${SECRET}@127.0.0.1:${port}`)).toMatchObject({
        code: 'ZYQ_UNREACHABLE',
        message: expect.stringMatching(/the TLS handshake\. If it expects no TLS on this port, use redis:\/\//),
      })
    }
  })

  test('an HTTP server behind TLS', async () => {
    const port = await listen(createHttpsServer(serverOptions('cert.pem'), (_, response) => response.end()))
    expect(await connectError(`rediss://localhost:${port}?ca=${file('cert.pem')}`)).toMatchObject({
      code: 'ZYQ_UNREACHABLE',
      message: expect.stringMatching(/like an HTTP server/),
    })
  })

  test('certificates that are refused', async () => {
    const expired = await listen(createTlsServer(serverOptions('expired.pem')))
    const cases: readonly (readonly [string, RegExp])[] = [
      [
        `rediss://localhost:${tlsPort}`,
        /self.signed certificate\. Give the file of its certificate authority as \?ca=/,
      ],
      [`rediss://127.0.0.1:${tlsPort}?ca=${file('cert.pem')}`, /Connect with a host name that is in the certificate/],
      [`rediss://localhost:${expired}?ca=${file('expired.pem')}`, /expired\. Renew the certificate/],
      [
        `rediss://localhost:${tlsPort}?ca=${file('cert.pem')}`,
        /asks for a client certificate, set tls-auth-clients no/,
      ],
    ]
    for (const [connection, words] of cases) {
      const error = await connectError(connection)
      expect(error).toMatchObject({ code: 'ZYQ_UNREACHABLE', message: expect.stringMatching(words) })
    }
  })

  test('a certificate file that is missing, or has no certificate', async () => {
    writeFileSync(file('empty.pem'), 'no certificate')
    for (const [name, words] of [
      ['nowhere.pem', /cannot be read: .*nowhere\.pem/],
      ['empty.pem', /has no certificate in PEM format: .*empty\.pem/],
    ] as const) {
      const error = await connectError(`rediss://localhost:${tlsPort}?ca=${file(name)}`)
      expect(error).toMatchObject({ own: 'ZYQ_CONNECTION_STRING', message: expect.stringMatching(words) })
    }
  })
})
