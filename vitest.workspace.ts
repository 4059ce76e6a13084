import type { TestProjectConfiguration } from 'vitest/config'

/** Every folder with tests of its own. Vitest no longer reads this file by itself: `vitest.config.ts` imports it. */
export default ['packages/*', 'examples/*', 'benchmarks', 'chaos', 'scripts'] satisfies TestProjectConfiguration[]
