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
export interface Levels {
  readonly high: number
  readonly normal: number
  readonly low: number
}

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
  try {
    const lines = await text.list('prioritystatus')
    return new Map(
      lines.map((line) => {
        const [name = '', high, normal, low] = line.split('\t')
        return [name, { high: Number(high), normal: Number(normal), low: Number(low) }]
      }),
    )
  } catch (error) {
    if (error instanceof GearmanError) return new Map()
    throw error
  }
}
