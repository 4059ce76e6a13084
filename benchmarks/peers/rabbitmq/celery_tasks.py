"""The task of the benchmark and the tally of its worker: the count, and the first and last time in ms of the monotonic clock."""
import json
import os
import threading
import time

from celery import Celery
from celery.signals import worker_process_init

app = Celery("bench", broker=os.environ["BENCH_BROKER"])
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_default_queue="bench-celery",
    broker_transport_options={"confirm_publish": True},
    worker_send_task_events=False,
)

count, started, ended = 0, 0.0, 0.0


@app.task(name="bench")
def bench(payload):
    global count, started, ended
    ended = time.monotonic() * 1000
    if count == 0:
        started = ended
    count += 1


@worker_process_init.connect
def publish_tally(**_):
    threading.Thread(target=write_periodically, daemon=True).start()


def write_periodically():
    path = os.path.join(os.environ["BENCH_TALLIES"], f"{os.getpid()}.json")
    while True:
        time.sleep(0.02)
        if count > 0:
            with open(path + ".new", "w") as file:
                json.dump({"count": count, "startedAt": started, "endedAt": ended}, file)
            os.replace(path + ".new", path)
