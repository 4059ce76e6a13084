import { defineConfig } from 'vitest/config'
import projects from './vitest.workspace.ts'

/** Most tests wait, for processes, leases and delays. So run more at once than there are cores. */
export default defineConfig({ test: { projects, maxWorkers: 4 } })
