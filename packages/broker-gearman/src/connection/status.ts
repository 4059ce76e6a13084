import { GearmanError } from '../errors.ts'
import type { TextConnection } from './text-connection.ts'

/** One line of the command `status`. */
export interface FunctionStatus {
  readonly name: string
  readonly waiting: number
  readonly running: number
  readonly workers: number
}

/** How many jobs wait in a function, by their level. */
export type Levels = Readonly<Record<'high' | 'normal' | 'low', number>>

/** All functions of a server. The columns are name, jobs, running jobs among them, workers. */
export async function functionsOf(text: TextConnection): Promise<readonly FunctionStatus[]> {
  return (await text.list('status')).map((line) => {
    const [name = '', total, running, workers] = line.split('\t')
    return {
      name,
      waiting: Math.max(0, Number(total) - Number(running)),
      running: Number(running),
      workers: Number(workers),
    }
  })
}

/** The levels of all functions, by their names. Empty if the server does not know the command. */
export async function levelsOf(text: TextConnection): Promise<ReadonlyMap<string, Levels>> {
  const lines = await text.list('prioritystatus').catch((error: unknown) => {
    if (error instanceof GearmanError) return []
    throw error
  })
  return new Map(
    lines.map((line) => {
      const [name = '', high, normal, low] = line.split('\t')
      return [name, { high: Number(high), normal: Number(normal), low: Number(low) }]
    }),
  )
}
