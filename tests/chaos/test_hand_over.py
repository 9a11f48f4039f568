"""A triggerer stalls, another takes its triggers over, and the first one wakes and knows nothing of it."""

from __future__ import annotations

import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager

from .harness import Chaos

PICTURES = 5
#: How long it is away, in seconds; six times what makes the others take it for dead here.
STALL = 60
#: What Airflow has a trigger say that is another triggerer's by now, and what it says itself from 3.4 on.
FAREWELLS = ("No longer waiting for request {} here", "Triggers were reassigned to another triggerer")
#: What Airflow says of a triggerer that was silent.
SILENCE = "no communication received for"
#: A line of a component's own log, or of a task's.
ERROR = re.compile(r"^\S+ (?:\[(?:error|critical) *\]|(?:error|critical) ).*|^Traceback.*", re.MULTILINE)


def triggers_by_triggerer(chaos: Chaos) -> Counter[int]:
    """How many triggers each triggerer runs, by the id of its job."""
    with closing(sqlite3.connect(chaos.airflow.home / "airflow.db")) as database:
        return Counter(owner for (owner,) in database.execute("SELECT triggerer_id FROM trigger"))


def wait_for_deferrals(chaos: Chaos, runs: dict[str, str], count: int) -> None:
    chaos.until(
        lambda: [state for run in runs.items() for state in chaos.states(*run)] == ["deferred"] * count, "all deferrals"
    )


def ends(chaos: Chaos, runs: dict[str, str]) -> dict[tuple[str, int], tuple[str, int, str]]:
    """How, in which try and when each task has ended."""
    return {
        (dag_id, each["map_index"]): (each["state"], each["try_number"], each["end_date"])
        for dag_id, run_id in runs.items()
        for each in chaos.airflow.task_instances(dag_id, run_id)
        if each["task_id"] == "paint"
    }


@contextmanager
def second_triggerer(chaos: Chaos) -> Iterator[str]:
    """Another triggerer, for as long as the block lasts."""
    chaos.airflow.start("triggerer-2")
    try:
        yield "triggerer-2"
    finally:
        chaos.airflow.kill("triggerer-2")


def test_a_triggerer_that_wakes_after_another_has_taken_over(chaos: Chaos) -> None:
    """It finds jobs that the other has delivered, whose results it keeps to itself until it hears that they are not
    its own any more; and one that the other still waits for, which it lets go."""
    log = chaos.airflow.log_file("triggerer")
    chaos.sandbox.configure(latency=60)
    quick = {
        dag_id: chaos.airflow.trigger_dag(dag_id, {"pictures": PICTURES, "subject": dag_id})
        for dag_id in ("many_deferred", "many_resumed")
    }
    wait_for_deferrals(chaos, quick, 2 * PICTURES)
    chaos.sandbox.configure(latency=180)
    slow = chaos.airflow.trigger_dag("one_deferred", {"prompt": "slow"})
    runs = quick | {"one_deferred": slow}
    wait_for_deferrals(chaos, runs, 2 * PICTURES + 1)
    # At its first trigger a triggerer may be silent for longer than the others wait for it.
    chaos.until(lambda: chaos.sandbox.count_calls("history") >= 2, "all to be waited for")
    before = log.stat().st_size
    fault = f"triggerer stalled for {STALL} s while another takes over"

    with second_triggerer(chaos) as second:
        # It has taken none of them: the first one is well, and runs them all.
        (first,) = triggers_by_triggerer(chaos)
        with chaos.stalled("triggerer"):
            stalled_at = time.monotonic()
            for run in quick.items():
                assert chaos.airflow.wait_for_run(*run, timeout=2 * STALL) == "success"
            ended = ends(chaos, quick)
            assert first not in triggers_by_triggerer(chaos)
            # What is tested is how long it is away.
            time.sleep(max(0.0, stalled_at + STALL - time.monotonic()))
        # Airflow writes this to the task's log, or to the triggerer's if it has closed the task's a moment earlier.
        (job,) = chaos.accepted("slow")
        farewells = [farewell.format(job["request_id"]) for farewell in FAREWELLS]

        def has_let_go() -> bool:
            said = log.read_text()[before:] + chaos.logs("one_deferred", slow)
            return any(farewell in said for farewell in farewells)

        chaos.until(has_let_go, "the first one to let go")
        row = chaos.finish(f"{fault}, a slow job", "one_deferred", slow, subject="slow")

    assert (row.tasks, row.accepted, row.lost) == (1, 1, 0)
    for run in quick.items():
        row = chaos.finish(f"{fault} ({run[0]})", *run, subject=run[0])
        assert (row.tasks, row.accepted, row.lost) == (PICTURES, PICTURES, 0)
    assert ends(chaos, quick) == ended, "tasks have ended a second time"
    assert {(state, tries) for state, tries, _ in ended.values()} == {("success", 1)}

    for dag_id, map_index in ends(chaos, runs):
        logs = chaos.logs(dag_id, runs[dag_id], map_index=map_index)
        assert ERROR.findall(logs) == []
        assert logs.count(" completed: 1 image(s)") == 1, "delivered a second time"
    # On a busy machine the second one, too, is silent at its first trigger, and Airflow says so.
    errors = ERROR.findall(chaos.airflow.log_file(second).read_text())
    assert [error for error in errors if SILENCE not in error] == []
    # The one thing it has to say is Airflow's, of itself, and true.
    (stall,) = ERROR.findall(log.read_text()[before:])
    assert SILENCE in stall
