// Connects as a user without permission, and prints the error code.
import plugin from '@zyqueue/broker-sqlite'

// Root may write everywhere. The user changes after the imports, because only root may be able to read this package.
if (process.getuid() === 0) {
  process.setgid(65534)
  process.setuid(65534)
}

const broker = plugin.create({ connection: `sqlite:${process.argv[2]}`, baseDir: '/' })
await broker.connect().then(
  () => process.stdout.write('connected'),
  (error) => process.stdout.write(broker.errorCode(error)),
)
