export { createSupervisor, type Supervisor } from './supervisor.ts'
export { importLogger, type CreateLogger } from './logger-module.ts'
export { whileLoading } from '../tasks/loading.ts'
export type { SupervisorOptions, SupervisorResult, TaskFileLoader } from './options.ts'
