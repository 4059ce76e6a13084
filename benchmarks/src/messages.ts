import { z } from 'zod'

/** What the harness tells a contestant's process to do. Each is answered with one `Answer`. */
export const command = z.discriminatedUnion('do', [
  z.object({ do: z.literal('submit'), ms: z.number(), inFlight: z.number() }),
  z.object({ do: z.literal('submitMany'), ms: z.number() }),
  z.object({ do: z.literal('fill'), count: z.number() }),
  /** Work until told to `stop`, or `ms` have passed, and answer with the time from submit to handler of the first jobs, too. */
  z.object({ do: z.literal('work'), ms: z.number(), processes: z.number() }),
  /** Work while as many are submitted as are done, after `warmUpMs` for `ms`. */
  z.object({ do: z.literal('workAndRefill'), ms: z.number(), warmUpMs: z.number() }),
  /** Submit single jobs, `gapMs` apart on average. */
  z.object({ do: z.literal('ping'), count: z.number(), gapMs: z.number() }),
  z.object({ do: z.literal('stop') }),
  z.object({ do: z.literal('waiting') }),
  z.object({ do: z.literal('close') }),
])
export type Command = z.infer<typeof command>

const measurement = z.object({
  count: z.number(),
  ms: z.number(),
  /** When the last of them was done, on the clock of `now()`. */
  endedAt: z.number(),
  /** Single values, in ms, where the command gathers them. */
  samples: z.array(z.number()).optional(),
})
/** `count` jobs in `ms`. */
export type Measurement = z.infer<typeof measurement>

export const report = z.discriminatedUnion('is', [
  z.object({ is: z.literal('ready') }),
  /** Jobs done so far; only while working, a few times a second. */
  z.object({ is: z.literal('progress'), count: z.number() }),
  z.object({ is: z.literal('answer'), measurement }),
  z.object({ is: z.literal('failure'), message: z.string() }),
])
export type Report = z.infer<typeof report>
