"""People who answer reviews over REST, as Airflow's UI does."""

from __future__ import annotations

import time
from typing import Any

from demo.airflow_rest import AirflowRest
from demo.local_airflow import LocalAirflow

from ...gallery.visitor import visitor

#: The user whom the DAGs of ``tests/browser/dags`` assign, and one who may answer all other reviews.
ASSIGNED = "admin"
ANSWERS_ALL = "colleague"

#: Seconds that a person reads. If a task resumes before the scheduler has seen its worker exit, the scheduler takes
#: that exit for the end of the task and retries it (apache/airflow#66374); no person is that fast.
FASTEST_PERSON = 5


class Reviews:
    """The forms of a run, and a person who fills them in."""

    def __init__(self, airflow: LocalAirflow, dag_id: str, run_id: str) -> None:
        self._airflow = airflow
        self._run = f"/dags/{dag_id}/dagRuns/{run_id}"

    def form(
        self,
        task_id: str = "review",
        map_index: int = -1,
        *,
        but_not: dict[str, Any] | None = None,
        timeout: float = 120,
    ) -> dict[str, Any]:
        """The form, once the task waits for a person, and has been read.

        :param but_not: a form of the same task in an earlier iteration of a loop.
        """
        deadline = time.monotonic() + timeout
        earlier = but_not and but_not["task_instance"]["id"]
        while True:
            found = self._airflow.api("GET", f"{self._run}/hitlDetails")["hitl_details"]
            for form in found:
                instance = form["task_instance"]
                waits = instance["state"] in ("awaiting_input", "deferred") and not form["response_received"]
                is_it = (instance["task_id"], instance["map_index"]) == (task_id, map_index)
                if waits and is_it and instance["id"] != earlier:
                    time.sleep(FASTEST_PERSON)
                    return dict(form)
            instances = self._airflow.api("GET", f"{self._run}/taskInstances")["task_instances"]
            assert time.monotonic() < deadline, [(each["task_id"], each["state"]) for each in instances]
            time.sleep(0.3)

    def answer(self, form: dict[str, Any], *chosen: str, comment: str = "", user: str | None = None) -> dict[str, Any]:
        """Choose some of a form's options.

        :param user: who answers; the one whom the DAGs assign by default.
        :return: the response.
        :raises RuntimeError: Airflow refuses the answer.
        """
        instance = form["task_instance"]
        # Only what runs in a loop has them.
        loop = {key: instance[key] for key in ("region_id", "region_index") if key in instance}
        path = f"{self._run}/taskInstances/{instance['task_id']}/{instance['map_index']}/hitlDetails"
        client = AirflowRest(self._airflow.base_url, (user, self._airflow.passwords[user])) if user else self._airflow
        body = {"chosen_options": chosen, "params_input": {"comment": comment}}
        return dict(client.api("PATCH", path, params=loop, json=body))


def paths_of_images(form: dict[str, Any]) -> list[str]:
    """Where a form's stored images come from."""
    return [cell.partition(">)")[0] for cell in form["body"].split("](<")[1:]]


def images_of(airflow: LocalAirflow, form: dict[str, Any]) -> list[bytes]:
    """A form's stored images, as a person's browser asks for them."""
    person = visitor(airflow, ANSWERS_ALL).http
    images = [person.get(path).raise_for_status() for path in paths_of_images(form)]
    assert {image.headers["content-type"] for image in images} == {"image/png"}
    return [image.content for image in images]
