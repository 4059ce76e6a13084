/** Submits as the original's example does: through the exchange of the task, and with a route of the submit's own. */
import { queueTaskRabbitmq } from './tasks.ts'

const data = { test1: 'redis', test2: 'gearman' }

await queueTaskRabbitmq.submit({ ...data, num: 0 })
await queueTaskRabbitmq.submit(
  { ...data, num: 1 },
  { exchange: 'zyqueue_rmq', exchangeType: 'direct', routingKeys: 'route1' },
)
