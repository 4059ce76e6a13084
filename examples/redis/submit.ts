/** Submits like the example of the Python original: the same data with each priority. */
import { queueTaskRedis } from './tasks.ts'

const data = { test1: 'redis', test2: 'gearman' }

await queueTaskRedis.submit({ ...data, num: 0 })
await queueTaskRedis.submit({ ...data, num: 1 }, { priority: 'high' })
await queueTaskRedis.submit({ ...data, num: 2 }, { priority: 'low' })
