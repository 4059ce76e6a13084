// Says the code that connecting is refused with.
import plugin from '@zyqueue/broker-sqlite'

const broker = plugin.create({ connection: `sqlite:${process.argv[2]}`, baseDir: '/' })
await broker.connect().then(
  () => process.stdout.write('connected'),
  (error) => process.stdout.write(broker.errorCode(error)),
)
