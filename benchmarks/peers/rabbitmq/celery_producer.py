"""Reads a command from each line and answers with a line: `ready`, `waiting`, or a list of payloads to submit."""
import json
import sys

from celery_tasks import app, bench

connection = app.connection_for_write()
producer = connection.Producer(serializer="json")

for line in sys.stdin:
    try:
        command = line.strip()
        if command == "ready":
            channel = connection.default_channel
            channel.queue_delete("bench-celery") if len(sys.argv) > 1 else None
            app.amqp.queues["bench-celery"].bind(channel).declare()
            print(0, flush=True)
        elif command == "waiting":
            print(connection.default_channel.queue_declare("bench-celery", passive=True).message_count, flush=True)
        else:
            payloads = json.loads(command)
            for payload in payloads:
                bench.apply_async((payload,), producer=producer)
            print(len(payloads), flush=True)
    except Exception as error:  # The harness shows it.
        print("error", type(error).__name__, error, flush=True)
