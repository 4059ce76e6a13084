/** Submits a job for each file of a folder: `node submit.ts [folder]`. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { listFiles } from './files.ts'
import { resultsFolder } from './results.ts'
import { fingerprint } from './tasks.ts'

mkdirSync(resultsFolder(), { recursive: true })
const { folder, files } = listFiles(process.argv[2] ?? '.')
const jobs = await fingerprint.submitMany(files.map((file) => ({ file: join(folder, file) })))
console.log(`submitted ${jobs.length} jobs`)
