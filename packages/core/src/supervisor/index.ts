export { createSupervisor, type Supervisor } from './supervisor.ts'
export { whileLoading } from '../tasks/loading.ts'
export type { SupervisorOptions, SupervisorResult, TaskFileLoader } from './options.ts'
