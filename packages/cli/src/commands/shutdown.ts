import type { Argv } from 'yargs'
import { describeBroker, withBroker } from '../broker.ts'
import { confirm } from '../confirm.ts'
import { YES, type GlobalArgs } from '../options.ts'
import { print } from '../output.ts'
import { requireCall } from '../require-call.ts'

/** `--json`: `{ broker, location, shutdown: true }`. */
export function shutdownCommand(cli: Argv<GlobalArgs>): Argv<GlobalArgs> {
  return cli.command(
    'shutdown',
    'Shut down the server of a broker',
    (command) =>
      command
        .options({ yes: YES })
        .example('$0 shutdown -C gearman://localhost:4730', 'Asks for confirmation')
        .example('$0 shutdown -C gearman://localhost:4730 --yes', 'For scripts'),
    async ({ yes, ...args }) => {
      await withBroker(args, async (broker) => {
        const shutdown = requireCall(broker, 'shutdown', 'shut its server down')
        const question = `Shut down ${describeBroker(broker)}? It loses what it does not keep on disk.`
        if (!(await confirm(question, yes, 'this command shuts a server down'))) return
        await shutdown()
        const { name, location } = broker
        print(
          args.json,
          { broker: name, location, shutdown: true },
          () => `${describeBroker(broker)} is shutting down.`,
        )
      })
    },
  )
}
