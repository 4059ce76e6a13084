import type { Stage } from './stage.ts'

/** Tests of one theme, by what the broker does. They read the capabilities, and never the broker's name. */
export type Behaviours = Readonly<Record<string, (stage: Stage) => Promise<void>>>
