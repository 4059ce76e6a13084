// Says the code that connecting is refused with.
import plugin from '@zyqueue/broker-sqlite'

// Root may write everywhere. The program itself may lie where nobody else can read it: that is why it changes now.
if (process.getuid() === 0) {
  process.setgid(65534)
  process.setuid(65534)
}

const broker = plugin.create({ connection: `sqlite:${process.argv[2]}`, baseDir: '/' })
await broker.connect().then(
  () => process.stdout.write('connected'),
  (error) => process.stdout.write(broker.errorCode(error)),
)
