"""A triggerer, a worker and Redis are lost one after the other, with 200 tasks and a batch of 1 000 under way."""

from __future__ import annotations

import time
from typing import cast
from urllib.parse import urlsplit

import psutil

from ..harness import Chaos
from .cluster import TRIGGERERS, WORKERS, CeleryAirflow

PICTURES = 200
ITEMS = 1000
#: Seconds that Redis stays away.
OUTAGE = 10


def is_buying(chaos: Chaos, worker: str) -> bool:
    """Whether a worker has a connection to the service."""
    port = urlsplit(chaos.sandbox.url).port
    connections = psutil.net_connections("tcp")
    buyers = {connection.pid for connection in connections if connection.raddr and connection.raddr.port == port}
    return not buyers.isdisjoint(chaos.airflow.pids(worker))


def is_in_the_midst(chaos: Chaos) -> bool:
    """Whether both the tasks and the batch still have pictures to buy."""
    return 0 < len(chaos.accepted("dog")) < PICTURES and 0 < len(chaos.accepted("cat")) < ITEMS


def is_tried_again(chaos: Chaos, runs: dict[str, str]) -> bool:
    """Whether the scheduler has found out that a try has come to nothing."""
    instances = [each for run in runs.items() for each in chaos.airflow.task_instances(*run)]
    return any(each["state"] == "up_for_retry" or each["try_number"] > 1 for each in instances)


def test_parts_lost_in_turn(chaos: Chaos) -> None:
    airflow = cast("CeleryAirflow", chaos.airflow)
    chaos.sandbox.configure(latency=(5, 15))
    # The batch first: of tasks that wait for a worker Airflow takes those of the older run.
    runs = {
        "batch_distributed": airflow.trigger_dag("batch_distributed", {"items": ITEMS}),
        "many_distributed": airflow.trigger_dag("many_distributed", {"pictures": PICTURES, "subject": "dog"}),
    }

    chaos.until(lambda: is_in_the_midst(chaos), "both to be under way")
    chaos.until(lambda: len(few := airflow.triggers()) == 2 and min(few.values()) >= 3, "both triggerers to be busy")
    before = set(airflow.triggers())
    assert is_in_the_midst(chaos)
    airflow.kill(TRIGGERERS[0])
    chaos.until(lambda: len(before & set(airflow.triggers())) == 1, "the other triggerer to take over")
    airflow.start(TRIGGERERS[0])

    chaos.sandbox.fault("submit", stall=20, after=True)
    chaos.until_fault_strikes()
    victim = next(worker for worker in WORKERS if is_buying(chaos, worker))
    assert is_in_the_midst(chaos)
    airflow.kill(victim)
    chaos.until(lambda: is_tried_again(chaos, runs), "the scheduler to find the dead worker's tasks")
    airflow.start(victim)

    assert is_in_the_midst(chaos)
    assert airflow.redis.cut_connections() >= len(WORKERS)
    airflow.redis.kill()
    time.sleep(OUTAGE)  # what is tested is that it is away
    airflow.redis.start()

    fault = "triggerer, worker and Redis lost in turn"
    row = chaos.finish(f"{fault}, many tasks", "many_distributed", runs["many_distributed"], timeout=400, subject="dog")
    assert (row.tasks, row.accepted, row.lost) == (PICTURES, PICTURES, 0)
    chaos.finish_batch(f"{fault}, a batch", "batch_distributed", runs["batch_distributed"], ITEMS)
