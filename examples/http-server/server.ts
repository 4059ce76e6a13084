/** `POST /users` answers when the broker has stored the job, before it runs. `PORT` sets the port; 0 is any free port. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { json } from 'node:stream/consumers'
import { producers, ZyQueueError } from '@zyqueue/core'
import { z } from 'zod'
import { User, welcome } from './tasks.ts'

interface Answer {
  readonly status: number
  readonly body: object
}

const server = createServer((request, response) => void handle(request, response))

async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { status, body } = await answerTo(request)
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

async function answerTo(request: IncomingMessage): Promise<Answer> {
  if (request.method !== 'POST' || request.url !== '/users') return { status: 404, body: { error: 'POST /users' } }
  try {
    const user = User.safeParse(await json(request))
    if (!user.success) return { status: 400, body: { error: z.prettifyError(user.error) } }
    const { id } = await welcome.submit(user.data)
    return { status: 202, body: { job: id } }
  } catch (error) {
    return failure(error)
  }
}

/** 400: the client must change the request. 503: the broker is unavailable, retry later. 500: other errors, such as an unknown outcome. */
function failure(error: unknown): Answer {
  if (error instanceof SyntaxError) return { status: 400, body: { error: 'not JSON' } }
  if (error instanceof ZyQueueError) return { status: error.retryable ? 503 : 500, body: { error: error.code } }
  return { status: 500, body: { error: 'internal' } }
}

server.listen(Number(process.env['PORT'] ?? 3000))
await once(server, 'listening')
const address = server.address()
if (address !== null && typeof address === 'object') console.log(`listening on port ${address.port}`)

// Finishes the open requests and their submits. After that, nothing keeps the process alive.
process.once('SIGTERM', () => {
  server.close(() => void producers.close())
  server.closeIdleConnections()
})
