import type { Argv } from 'yargs'
import { placeOf, withBroker } from '../broker.ts'
import { confirm } from '../confirm.ts'
import { YES, type GlobalArgs } from '../options.ts'
import { print } from '../output.ts'
import { supported } from '../supported.ts'

/** `--json`: `{ broker, location, shutdown: true }`. */
export function shutdownCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'shutdown',
    'Ask the server of a broker to end',
    (command) =>
      command
        .options({ yes: YES })
        .example('$0 shutdown -C gearman://localhost:4730', 'Asks first')
        .example('$0 shutdown -C gearman://localhost:4730 --yes', 'For scripts'),
    async ({ yes, ...args }) => {
      await withBroker(args, async (broker) => {
        const shutdown = supported(broker, 'shutdown', 'be ended from here')
        const question = `End ${placeOf(broker)}, with all that it does not keep on a disk?`
        if (!(await confirm(question, yes, 'this ends a server'))) return
        await shutdown()
        const { name, location } = broker
        print(args.json, { broker: name, location, shutdown: true }, () => `${placeOf(broker)} ends.`)
      })
    },
  )
}
