export { createSupervisor, type Supervisor } from './supervisor.ts'
export type { SupervisorOptions, SupervisorResult, TaskFileLoader } from './options.ts'
