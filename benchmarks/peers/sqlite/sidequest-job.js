// Sidequest finds a job's class by its file, and imports that: it must not be the file that starts it.
import { Job } from 'sidequest'

let handler = async () => {}

export function setHandler(handle) {
  handler = handle
}

export class BenchJob extends Job {
  async run(payload) {
    await handler(payload)
    return true
  }
}
