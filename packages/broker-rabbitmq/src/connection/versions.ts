import type { Finding } from '@zyqueue/core/broker'

/** Whether a killed node may lose a quorum queue that was declared a second ago: see `DeclareChannel.make`. */
export function forgetsNewQueues(version: string): boolean {
  // rabbitmq/ra, pull request 443.
  return !isAtLeast(version, '3.13.6')
}

/** Whether quorum queues deliver priorities above 4 first. */
export function hasQuorumPriorities(version: string): boolean {
  return isAtLeast(version, '4.0')
}

/** Known problems of a version of RabbitMQ. */
export function findingsOfVersion(version: string): readonly Finding[] {
  if (!isAtLeast(version, '3.10')) {
    return [
      {
        level: 'problem',
        message: `RabbitMQ ${version} is too old: delays need the at-least-once dead-lettering of 3.10`,
        remedy: 'Upgrade to 3.10 or later',
      },
    ]
  }
  const findings: Finding[] = []
  if (!isAtLeast(version, '3.12')) {
    findings.push({
      level: 'warning',
      message: `RabbitMQ ${version} takes back a job that runs for longer than consumer_timeout (default: 30 minutes), and the job runs again`,
      remedy:
        'Set consumer_timeout in rabbitmq.conf above your longest job, or upgrade to 3.12, where each queue has its own',
    })
  }
  return findings
}

function isAtLeast(version: string, least: string): boolean {
  const [has = [], wants = []] = [version, least].map((text) =>
    text.split('.').map((part) => Number.parseInt(part, 10)),
  )
  for (const [index, part] of wants.entries()) {
    const difference = (has[index] ?? 0) - part
    if (difference !== 0) return difference > 0
  }
  return true
}
