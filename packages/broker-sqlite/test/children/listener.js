// Reports each hint of the wake file, and never polls.
import { WakeFile } from '../../dist/wake-file.js'
import { keepAlive } from './broker.js'

keepAlive()
const wakeFile = new WakeFile(process.argv[2])
wakeFile.listen(() => process.send('hint'))
process.send('listening')
