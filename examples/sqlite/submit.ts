/** Submits like the example of the Python original: the same data with three priorities, and a batch. */
import { queueTask } from './tasks.ts'

const data = { test1: 'redis', test2: 'gearman' }

await queueTask.submit({ ...data, num: 0 })
await queueTask.submit({ ...data, num: 1 }, { priority: 'high' })
await queueTask.submit({ ...data, num: 2 }, { priority: 'low' })
await queueTask.submit(
  [
    { ...data, num: 3 },
    { ...data, num: 4 },
  ],
  { batch: true },
)
