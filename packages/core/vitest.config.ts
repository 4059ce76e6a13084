import { defineConfig } from 'vitest/config'

/** Some of these tests wait for seconds, and longer on a machine that has better things to do. */
export default defineConfig({ test: { testTimeout: 60_000 } })
