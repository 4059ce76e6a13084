// Stops in the middle of a transaction that has changed the queue, and keeps the lock.
import { drivers } from '../../dist/driver.js'
import { keepAlive } from './broker.js'

keepAlive()
const connection = drivers()[0].open(process.argv[2])
connection.exec(`BEGIN IMMEDIATE;
  INSERT INTO queue (name) VALUES ('half');
  DELETE FROM ready; DELETE FROM job`)
process.send('written')
