/** Submits one job, and then two jobs as one batch, as the example of the Python original does. */
import { queueTaskGearman } from './tasks.ts'

const data = { test1: 'redis', test2: 'gearman' }

await queueTaskGearman.submit({ ...data, num: 0 })
await queueTaskGearman.submit([
  { ...data, num: 1 },
  { ...data, num: 2 },
])
