import type { OutboundMessage, PublishResult, QueueSpec } from '../contract/index.ts'
import { ConfigError } from '../errors.ts'
import type { BatchHooks, QueuedMessage } from './batch-hooks.ts'
import { HookBatches } from './hook-batches.ts'

/** Messages of one submit. */
export interface MessageGroup {
  readonly queue: QueueSpec
  readonly messages: readonly OutboundMessage[]
}

type Results = readonly PublishResult[]
type Publish = (queue: QueueSpec, messages: readonly OutboundMessage[]) => Promise<Results>

/** Passes messages through the publish hooks of their tasks. `publish` sends the messages that the hooks pass on. */
export function createPublishBatches(publish: Publish): HookBatches<MessageGroup, Results> {
  return new HookBatches<MessageGroup, Results>({
    async call(hooks, groups) {
      const batch = groups.flatMap(({ queue, messages }) => messages.map((message) => ({ queue, message })))
      const results = await callPublishHook(hooks, batch, publish)
      let start = 0
      return groups.map(({ messages }) => results.slice(start, (start += messages.length)))
    },
    onFailure: ({ messages }, error) => messages.map(() => refusal(error)),
    isResult: () => true,
    sizeOf: ({ messages }) => messages.length,
  })
}

async function callPublishHook(hooks: BatchHooks, batch: readonly QueuedMessage[], publish: Publish): Promise<Results> {
  const published = new Map<string, PublishResult>()
  const publishing: Promise<Results>[] = []
  const next = async (passed: readonly QueuedMessage[]): Promise<Results> => {
    const answers = await publishEach(passed, publish)
    for (const [index, { message }] of passed.entries()) {
      const answer = answers[index]
      if (answer !== undefined) published.set(message.id, answer)
    }
    return answers
  }
  try {
    const results = await hooks.publish?.(batch, (passed) => {
      const answers = next(passed)
      publishing.push(answers)
      return answers
    })
    if (results?.length === batch.length && results.every(isPublishResult)) return results
    throw new ConfigError('ZYQ_CONFIG', `A publish hook must return one result for each of ${batch.length} messages.`)
  } catch (error) {
    // The hook may have failed while a message was being stored.
    await Promise.allSettled(publishing)
    return batch.map(({ message }) => published.get(message.id) ?? refusal(error))
  }
}

function isPublishResult({ status }: PublishResult): boolean {
  return status === 'stored' || status === 'refused' || status === 'unknown'
}

/** Messages of one queue that follow each other travel together. */
async function publishEach(batch: readonly QueuedMessage[], publish: Publish): Promise<Results> {
  const runs: { queue: QueueSpec; messages: OutboundMessage[] }[] = []
  for (const { queue, message } of batch) {
    const last = runs.at(-1)
    if (last?.queue === queue) last.messages.push(message)
    else runs.push({ queue, messages: [message] })
  }
  return (await Promise.all(runs.map(({ queue, messages }) => publish(queue, messages)))).flat()
}

function refusal(error: unknown): PublishResult {
  return { status: 'refused', error }
}
