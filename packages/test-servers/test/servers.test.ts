import { existsSync } from 'node:fs'
import { createConnection } from 'node:net'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { expect, test, vi } from 'vitest'
import { startGearmand, startNats, startRabbitmq, startRedis, type TestServer } from '../src/index.ts'
import { describeWithServer } from '../src/vitest.ts'

/** Sends each request after the answer to the previous one. Resolves to the last answer. */
async function talk(server: TestServer, ...requests: readonly (string | Uint8Array)[]): Promise<string> {
  const socket = createConnection({ host: '127.0.0.1', port: server.port })
  let answer = ''
  for (const request of requests) {
    socket.write(request)
    const [bytes] = await once(socket, 'data', { signal: AbortSignal.timeout(30_000) })
    answer = Buffer.from(bytes).toString('latin1')
  }
  socket.destroy()
  return answer
}

function groupLives(leader: number): boolean {
  try {
    process.kill(-leader, 0)
    return true
  } catch {
    return false
  }
}

async function expectNothingAfterStop(server: TestServer): Promise<void> {
  const { pid, dir } = server
  expect(groupLives(pid)).toBe(true)
  await server.stop()
  await server.stop()
  expect(groupLives(pid)).toBe(false)
  expect(existsSync(dir)).toBe(false)
}

async function killAndRestart(server: TestServer): Promise<void> {
  const { pid, port } = server
  await server.kill('SIGKILL')
  await vi.waitFor(() => expect(groupLives(pid)).toBe(false), { timeout: 60_000 })
  await expect(talk(server, 'PING\r\n')).rejects.toThrow()
  await server.restart()
  expect(server.pid).not.toBe(pid)
  expect(server.port).toBe(port)
}

await describeWithServer('redis', 'startRedis', () => {
  test('starts, answers, keeps its data after SIGKILL, and leaves nothing behind', async () => {
    const server = await startRedis()
    expect(await talk(server, 'PING\r\n')).toBe('+PONG\r\n')
    expect(await talk(server, 'SET color blue\r\n')).toBe('+OK\r\n')
    await killAndRestart(server)
    expect(await talk(server, 'GET color\r\n')).toBe('$4\r\nblue\r\n')
    await expectNothingAfterStop(server)
  })

  test('accepts additional configuration', async () => {
    await using server = await startRedis({ config: 'requirepass secret', args: ['--maxclients', '20'] })
    expect(await talk(server, 'AUTH secret\r\n', 'CONFIG GET maxclients\r\n')).toContain('20')
  })

  test('rejects with the reason if a server does not start', async () => {
    await expect(startRedis({ config: 'no-such-directive yes' })).rejects.toThrow(/no-such-directive/)
  })

  test('ends when the process that started it is killed', async () => {
    const parent = spawn(process.execPath, ['-e', STARTS_AND_WAITS], {
      cwd: import.meta.dirname,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [line] = await once(createInterface(parent.stdout), 'line')
    const { pid, dir }: { pid: number; dir: string } = JSON.parse(String(line))
    expect(groupLives(pid)).toBe(true)
    parent.kill('SIGKILL')
    await vi.waitFor(
      () => {
        expect(groupLives(pid)).toBe(false)
        expect(existsSync(dir)).toBe(false)
      },
      { timeout: 60_000 },
    )
  })
})

const STARTS_AND_WAITS = `import('@zyqueue/test-servers').then(async ({ startRedis }) => {
  const { pid, dir } = await startRedis()
  console.log(JSON.stringify({ pid, dir }))
  setInterval(() => {}, 1000)
})`

await describeWithServer('gearmand', 'startGearmand', () => {
  test('starts, answers, keeps its jobs after SIGKILL, and leaves nothing behind', async () => {
    const server = await startGearmand()
    expect(await talk(server, 'version\n')).toMatch(/^OK \d/)
    const submitted = await talk(server, submitBackground('paint', 'unique-1', '{"color":"blue"}'))
    expect(submitted).toContain('H:')
    await killAndRestart(server)
    expect(await talk(server, 'status\n')).toContain('paint\t1\t0\t0')
    await expectNothingAfterStop(server)
  })
})

await describeWithServer('nats', 'startNats', () => {
  test('starts with JetStream, answers, restarts after SIGKILL, and leaves nothing behind', async () => {
    const server = await startNats()
    expect(await talk(server, '')).toContain('"jetstream":true')
    await killAndRestart(server)
    expect(await talk(server, '')).toContain('"jetstream":true')
    await expectNothingAfterStop(server)
  })
})

/** SUBMIT_JOB_BG (18): function, unique and workload, separated by NUL. */
function submitBackground(task: string, unique: string, workload: string): Buffer {
  const body = Buffer.from([task, unique, workload].join('\0'))
  const header = Buffer.alloc(12)
  header.write('\0REQ', 'latin1')
  header.writeUInt32BE(18, 4)
  header.writeUInt32BE(body.length, 8)
  return Buffer.concat([header, body])
}

await describeWithServer('rabbitmq', 'startRabbitmq', () => {
  test('starts, answers, restarts after SIGKILL, and leaves nothing behind', async () => {
    const server = await startRabbitmq()
    const header = Buffer.from('AMQP\x00\x00\x09\x01', 'latin1')
    expect(await talk(server, header)).toContain('RabbitMQ')
    await killAndRestart(server)
    expect(await talk(server, header)).toContain('RabbitMQ')
    await expectNothingAfterStop(server)
  })
})
