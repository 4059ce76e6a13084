// Sidequest imports the file of a job's class, so it must not be the file that starts Sidequest.
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
