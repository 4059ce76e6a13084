/** The task of the Python original's example, on RabbitMQ: `zyqueue work --task-file tasks.ts` runs it. */
import type {} from '@zyqueue/broker-rabbitmq'
import { queueJob, type Job } from '@zyqueue/core'

export const queueTaskRabbitmq = queueJob(
  {
    connection: process.env['RABBITMQ_URL'] ?? 'amqp://localhost',
    exchange: 'zyqueue_rmq',
    exchangeType: 'direct',
    queue: 'zyqueue_test',
    routingKeys: 'route1',
  },
  async function queueTaskRabbitmq(worker, job: Job<Readonly<Record<string, string | number>>>) {
    const data = Object.entries(job.data).map(([key, value]) => `${key}: ${value}`)
    worker.log.info({ job: job.id }, `task execute success! job data: ${data.join(',')}`)
    return true
  },
)
