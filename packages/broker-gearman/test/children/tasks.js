// The task file of the worker processes in lost-deliveries.test.ts. It writes what runs to a file.
import { appendFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { queueJob } from '@zyqueue/core'

const { NOTES, QUEUE } = process.env
const note = (line) => appendFileSync(NOTES, `${line}\n`)

queueJob({ name: `${QUEUE}-poison`, maxDeliveries: 3 }, async (_worker, job) => {
  note(`poison ${job.data} ${job.deliveryCount}`)
  if (job.data === 'poison') process.kill(process.pid, 'SIGKILL')
})

const retries = { limit: 1, minDelayMs: 1, maxDelayMs: 1 }
queueJob({ name: `${QUEUE}-slow`, hardTimeoutMs: 300, retries }, async (_worker, job) => {
  note(`slow ${job.attempt} ${job.deliveryCount}`)
  await new Promise(() => {})
})

queueJob({ name: `${QUEUE}-plain`, retries: { limit: 2, minDelayMs: 1, maxDelayMs: 1 } }, async (_worker, job) => {
  await sleep(5)
  if (job.data % 10 === 3 && job.attempt === 1) throw new Error('once')
  note(`plain ${job.data}`)
})
