"""Prints the progress and the result of a run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from demo.airflow_rest import AirflowRest, Json


@dataclass(frozen=True)
class Result:
    """The XComs of one task instance."""

    urls: list[str]
    generation: Json


@dataclass
class Run:
    """A run of a DAG in an Airflow.

    :param task_id: the mapped task that generates the images.
    """

    airflow: AirflowRest
    dag_id: str
    run_id: str
    task_id: str
    started: float = field(default_factory=time.monotonic)

    def print_progress(self, instance: Json) -> None:
        """Print one line for a task instance that has changed its state."""
        state = instance["state"] or "waiting"
        print(f"  {time.monotonic() - self.started:5.1f} s  {_name(instance):<18} {state}", flush=True)

    def results(self) -> list[Result]:
        """Return the XComs of each mapped task instance, in order."""
        indexes = [i["map_index"] for i in self._instances() if i["task_id"] == self.task_id]
        where = (self.dag_id, self.run_id, self.task_id)
        return [
            Result(
                urls=self.airflow.xcom(*where, "return_value", index),
                generation=self.airflow.xcom(*where, "generation", index),
            )
            for index in indexes
        ]

    def print_result(self, results: Sequence[Result]) -> None:
        """Print a table of the task instances, with the URLs from XCom."""
        urls = {f"{self.task_id}[{index}]": result.urls for index, result in enumerate(results)}
        print(f"\n{'TASK':<18} {'STATE':<10} {'SECONDS':>7}  URLS IN XCOM")
        for instance in self._instances():
            first, *more = urls.get(_name(instance), []) or [""]
            seconds = f"{instance['duration'] or 0:.1f}"
            print(f"{_name(instance):<18} {instance['state'] or '':<10} {seconds:>7}  {first}".rstrip())
            for url in more:
                print(f"{'':<39}{url}")

    def print_failure(self) -> None:
        """Print the state of each task instance, and the logs of those that started and did not succeed."""
        instances = self._instances()
        for instance in instances:
            print(f"{_name(instance):<18} {instance['state']}")
        for instance in instances:
            if instance["start_date"] and instance["state"] not in ("success", "upstream_failed", "skipped"):
                where = (self.dag_id, self.run_id, instance["task_id"], instance["try_number"], instance["map_index"])
                print(f"\n--- log of {_name(instance)}, try {instance['try_number']}\n{self.airflow.task_log(*where)}")

    def _instances(self) -> list[Json]:
        """Return the task instances: tasks in the order they began, mapped ones in the order of their input."""
        instances = self.airflow.task_instances(self.dag_id, self.run_id)
        never = "9999"
        began: dict[str, str] = {}
        for instance in instances:
            task_id, start = instance["task_id"], instance["start_date"] or never
            began[task_id] = min(start, began.get(task_id, never))
        return sorted(instances, key=lambda instance: (began[instance["task_id"]], instance["map_index"]))


def _name(instance: Json) -> str:
    index = instance["map_index"]
    return f"{instance['task_id']}[{index}]" if index >= 0 else str(instance["task_id"])
