// Says each hint of the wake file, and never looks by itself.
import { WakeSignal } from '../../dist/wake.js'
import { keepAlive } from './broker.js'

keepAlive()
const signal = new WakeSignal(process.argv[2], `${process.argv[2]}-wake`)
signal.listen(() => process.send('hint'))
process.send('listening')
