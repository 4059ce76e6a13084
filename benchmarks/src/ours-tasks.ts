/** The task file of the worker processes that the supervisor in `ours.ts` starts. */
import { queueJob } from '@zyqueue/core'
import { QUEUE, TALLY_FOLDER } from './bench-queue.ts'
import type { Payload } from './contestant.ts'
import { createCounter, publishTally } from './tally.ts'

const counter = createCounter()
publishTally(counter, process.env[TALLY_FOLDER] ?? '.')

queueJob({ name: QUEUE }, (_worker, job: { data: Payload }) => counter.note(job.data))
