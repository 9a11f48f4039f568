"""What the arguments of the tasks have in common."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pendulum

from airflow_provider_kandinsky.durable.policy import ON_UNKNOWN_SUBMIT
from airflow_provider_kandinsky.segmind.errors import BadRequestError, RateLimitedError
from airflow_provider_kandinsky.segmind.http.rate_limit import SUBMIT_RESUME_DELAY, SUBMIT_RESUME_SPREAD
from airflow_provider_kandinsky.segmind.schemas import RECORD_LIFETIME, TextToImageRequest
from airflow_provider_kandinsky.segmind.waiting.poller import MAX_RETRY_AFTER
from airflow_provider_kandinsky.triggers.min_lifetime import MIN_TRIGGER_LIFETIME

if TYPE_CHECKING:
    from airflow.providers.standard.triggers.temporal import DateTimeTrigger

#: The arguments that describe the picture, by the API's own names.
GENERATION_ARGUMENTS: Final = tuple(TextToImageRequest.model_fields)

BASE64_NEEDS_OUTPUT_PATH: Final = (
    "base64=True needs an output_path: pictures are not put into XCom. Nothing was submitted."
)

#: How long after the trigger's own deadline Airflow's deferral timeout comes, should the triggerer be gone.
DEFERRAL_TIMEOUT_MARGIN: Final = timedelta(minutes=5)
#: So many times in a row a submission is deferred to a reset; that is half an hour or more.
MAX_RESETS: Final = 30


def is_literal(value: object) -> bool:
    """Whether a value is final when the DAG is parsed: no template, no XCom of another task, no collection."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    return value is None or isinstance(value, (int, float, bool))


def check_settings(timeout: float, poll_interval: float | None, on_unknown_submit: str) -> None:
    """Check what is not templated.

    :raises BadRequestError: naming the argument, its value and what is allowed.
    """
    if not 0 < timeout <= RECORD_LIFETIME:
        raise invalid_argument("timeout", timeout, f"a number of seconds above 0, at most {RECORD_LIFETIME:.0f}")
    if on_unknown_submit not in ON_UNKNOWN_SUBMIT:
        raise invalid_argument("on_unknown_submit", on_unknown_submit, f"one of {', '.join(ON_UNKNOWN_SUBMIT)}")
    if poll_interval is not None and poll_interval <= 0:
        raise invalid_argument("poll_interval", poll_interval, "a number of seconds above 0")


def invalid_argument(name: str, value: Any, allowed: str) -> BadRequestError:
    """An argument that may not be what it is."""
    return BadRequestError(f"{name}={value!r:.200} is not allowed: it must be {allowed}. Nothing was submitted.")


def reset_trigger(error: RateLimitedError, resets: int = 0) -> DateTimeTrigger | None:
    """What lets go of the worker until a rate limit resets.

    What the service says is believed within a minute, as its limits are per minute, and not below what a deferral
    has to last.

    :param resets: how many there were before this one.
    :return: ``None`` if there were enough of them.
    """
    if resets >= MAX_RESETS:
        return None
    from airflow.providers.standard.triggers.temporal import DateTimeTrigger  # seldom needed, slow to import

    told = MAX_RETRY_AFTER if error.retry_after is None else error.retry_after
    wait = min(max(told, MIN_TRIGGER_LIFETIME), MAX_RETRY_AFTER)
    # All tasks that ran into the limit are told the same moment, and who waits for jobs goes first.
    delay = SUBMIT_RESUME_DELAY + random.uniform(0, SUBMIT_RESUME_SPREAD)
    return DateTimeTrigger(pendulum.now("UTC").add(seconds=wait + delay))
