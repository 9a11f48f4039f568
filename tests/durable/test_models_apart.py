"""The history finds models by parts of their names, and a model makes as many images as it likes: no image of another
model is delivered, and none that was paid for is left, for one image and for many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_kandinsky.batch.state import UNKNOWN_REQUEST
from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.segmind.constants import DEFAULT_MODEL

from ..support.task_instance import FakeTaskInstance, paint, paint_all

#: One image, and a batch of one.
OPERATORS: dict[str, Callable[..., Any]] = {
    "single": paint,
    "batch": lambda **arguments: paint_all([arguments.pop("prompt", "a cat")], **arguments),
}
#: Its name has that of the default model in it, so that the history finds it for that one, too.
LARGER = f"{DEFAULT_MODEL}-xl"

both = pytest.mark.parametrize("paints", OPERATORS)


def urls(result: Any) -> list[str]:
    """Of one image, or of a batch of one."""
    return [url for each in result for url in (each["urls"] if isinstance(each, dict) else [each])]


@pytest.fixture
def compared(sandbox: Sandbox) -> Sandbox:
    """Another task has just had the same image made by the larger model."""
    sandbox.configure(models=[DEFAULT_MODEL, LARGER])
    neighbour = FakeTaskInstance()
    neighbour.task_id = "compare"
    neighbour.run(paint(seed=7, model=LARGER))
    return sandbox


@both
def test_the_job_of_another_model_is_not_taken_for_this_one(
    compared: Sandbox, ti: FakeTaskInstance, paints: str
) -> None:
    compared.fault("submit", drop=True)
    with pytest.raises(Exception, match="the response was lost"):
        ti.run(OPERATORS[paints](seed=7))

    ti.retry()
    with pytest.raises(Exception, match="it says: perhaps there"):
        ti.run(OPERATORS[paints](seed=7))
    assert len(compared.submissions) == 1

    ti.clear()
    assert len(urls(ti.run(OPERATORS[paints](seed=7, on_unknown_submit="resubmit")))) == 1
    assert len(compared.submissions) == 2


@both
def test_beside_the_job_of_another_model_ones_own_is_found(
    compared: Sandbox, ti: FakeTaskInstance, paints: str
) -> None:
    compared.fault("submit", drop=True, after=True)
    (url,) = urls(ti.run(OPERATORS[paints](seed=7)))
    other, own = compared.submissions
    assert url.rpartition("/")[2].startswith(own["request_id"]) or own["request_id"] in str(ti.pushed)
    assert other["request_id"] not in str(ti.pushed)


@both
def test_all_images_of_a_model_that_is_not_known_are_delivered_after_the_hour(
    compared: Sandbox, ti: FakeTaskInstance, paints: str
) -> None:
    compared.configure(latency=60)
    with pytest.raises(Exception, match=r"JobTimeoutError|not finished"):
        ti.run(OPERATORS[paints](model=LARGER, timeout=0.1))
    job = compared.submissions[-1]
    ti.age(3600)
    ti.retry()
    compared.configure(expiry=0)
    row = {"request_id": job["request_id"], "model_status": "COMPLETED", "request_body": job["payload"]}
    rows = [row | {"generation_url": f"{compared.url}/generations/{number}.png"} for number in range(4)]
    compared.fault("history", status=200, body=rows[0])  # asked for by its id, it is one row
    compared.fault("history", status=200, body=rows)

    assert len(urls(ti.run(OPERATORS[paints](model=LARGER)))) == 4
    assert len(compared.submissions) == 2


def test_of_how_many_images_what_is_not_wanted_any_more_was_is_not_certain() -> None:
    """A retry whose requests have changed knows hashes of the earlier ones only, so it takes no part for the whole."""
    assert UNKNOWN_REQUEST.image_count(DEFAULT_MODEL) is None
    assert UNKNOWN_REQUEST.url_count(DEFAULT_MODEL) is None
