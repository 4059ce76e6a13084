import { defineConfig } from 'vitest/config'

/** Starting a real server takes seconds on a busy machine. */
export default defineConfig({ test: { testTimeout: 60_000 } })
