/** Submits like the example of the Python original: through the exchange of the task, and once with a route given to `submit`. */
import { queueTaskRabbitmq } from './tasks.ts'

const data = { test1: 'redis', test2: 'gearman' }

await queueTaskRabbitmq.submit({ ...data, num: 0 })
await queueTaskRabbitmq.submit(
  { ...data, num: 1 },
  { exchange: 'zyqueue_rmq', exchangeType: 'direct', routingKeys: 'route1' },
)
