"""What a generation asks of Airflow's API server, which is the first thing to be busy."""

from __future__ import annotations

import pytest

from airflow_provider_kandinsky.compat.airflow import triggers_can_set_xcom
from airflow_provider_kandinsky.links.kandinsky import links_are_served
from airflow_provider_kandinsky.sandbox.client import Sandbox
from demo.api_calls import count_api_calls
from demo.local_airflow import LocalAirflow

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("airflow")]

HEARTBEAT = "PUT heartbeat"
#: Of one mapped generation that ends in the triggerer, whose own writes go another way.
CALLS = {
    "PATCH run": 1,
    "PUT rtif": 1,
    "GET xcom return_value": 1,  # the mapped argument
    "GET store kandinsky_job": 1,
    "PUT store kandinsky_job": 2,  # the intent, the request id
    "POST xcom request_id": 1,
    "PATCH state": 1,
} | ({} if links_are_served() else {"POST xcom _link_KandinskyImageLink": 1})


@pytest.mark.skipif(not triggers_can_set_xcom(), reason="this Airflow has no task state store, and resumes in a worker")
def test_a_mapped_generation_makes_few_calls(airflow: LocalAirflow, sandbox: Sandbox) -> None:
    run_id = airflow.trigger_dag("calls")
    assert airflow.wait_for_run("calls", run_id) == "success"
    instances = [each for each in airflow.task_instances("calls", run_id) if each["task_id"] == "mapped"]
    assert len(instances) == 3

    log = airflow.log_file("api-server").read_text().splitlines()
    found = count_api_calls(log, [*(each["id"] for each in instances), f"{run_id}/mapped/", f"{run_id}/prompts/"])
    assert found.pop("POST xcom return_value") == 1  # of the task upstream
    # One as the task starts, and more only where it takes long.
    assert found.pop(HEARTBEAT) >= len(instances)
    assert found == {call: count * len(instances) for call, count in CALLS.items()}
    assert sum(CALLS.values()) + 1 == (9 if links_are_served() else 10)
