import { onTestFinished } from 'vitest'
import type { TaskOptions } from '../../src/tasks/options.ts'
import { Task } from '../../src/tasks/task.ts'
import type { Job } from '../../src/worker/job.ts'
import type { WorkerOptions } from '../../src/worker/options.ts'
import { createWorker } from '../../src/worker/worker.ts'
import { recordingLogger, scripted, uniqueName, type Script, type ScriptedBroker } from '../support.ts'

export function taskOn(broker: ScriptedBroker, run: (job: Job) => unknown, options: TaskOptions = {}) {
  return new Task<number>(uniqueName(), { ...options, server: broker }, { run: (_worker, job) => run(job) })
}

export function workerOn(options: WorkerOptions) {
  const worker = createWorker(options)
  onTestFinished(() => worker.close())
  return worker
}

export function setUp(
  script: Script,
  run: (job: Job) => unknown,
  options: WorkerOptions & { task?: TaskOptions } = {},
) {
  const broker = scripted(script)
  const { task: taskOptions, ...workerOptions } = options
  const task = taskOn(broker, run, taskOptions)
  const logger = recordingLogger()
  const worker = workerOn({ tasks: [task], logger, ...workerOptions })
  const stats = () => broker.store.queue(task.name).stats()
  return { broker, task, worker, logger, stats }
}
