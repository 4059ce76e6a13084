import { once } from 'node:events'
import { createConnection } from 'node:net'

/** The number of waiting and running jobs, from the server's `status` command. */
export async function waitingOn(address: string): Promise<number> {
  const [host = '', port] = address.replace('gearman://', '').split(':')
  const socket = createConnection({ host, port: Number(port) })
  let text = ''
  socket.on('data', (chunk) => {
    text += String(chunk)
    if (text.endsWith('.\n')) socket.end()
  })
  socket.write('status\n')
  await once(socket, 'close')
  return text
    .split('\n')
    .filter((line) => line.includes('\t'))
    .reduce((sum, line) => sum + Number(line.split('\t')[1]), 0)
}
