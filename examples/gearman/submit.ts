/** Submits like the example of the Python original: one job, and a list as one batch. */
import { queueTaskGearman } from './tasks.ts'

const data = { test1: 'redis', test2: 'gearman' }

await queueTaskGearman.submit({ ...data, num: 0 })
await queueTaskGearman.submit([
  { ...data, num: 1 },
  { ...data, num: 2 },
])
