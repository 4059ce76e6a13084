import { z } from 'zod'

/** The commands of the harness to a contestant process. Each command except `stop` gets one `answer` or `failure`. */
export const command = z.discriminatedUnion('do', [
  z.object({ do: z.literal('submit'), ms: z.number(), inFlight: z.number() }),
  z.object({ do: z.literal('submitMany'), ms: z.number() }),
  z.object({ do: z.literal('fill'), count: z.number() }),
  /** Work until `stop` or until `ms` have passed. The answer also contains latencies of the first jobs. */
  z.object({ do: z.literal('work'), ms: z.number(), processes: z.number() }),
  /** Work and submit as many jobs as are done: first for `warmUpMs`, then measured for `ms`. */
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
  /** When the last job was done, on the clock of `now()`. */
  endedAt: z.number(),
  /** Single values in ms, if the command collects them. */
  samples: z.array(z.number()).optional(),
})
/** `count` jobs were done in `ms`. */
export type Measurement = z.infer<typeof measurement>

export const report = z.discriminatedUnion('is', [
  z.object({ is: z.literal('ready') }),
  /** The number of jobs done so far. Sent only during `work`. */
  z.object({ is: z.literal('progress'), count: z.number() }),
  z.object({ is: z.literal('answer'), measurement }),
  z.object({ is: z.literal('failure'), message: z.string() }),
])
export type Report = z.infer<typeof report>
