"""The sandbox's settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from airflow_provider_kandinsky.segmind.models import CATALOGUE

DEFAULT_KEY = "SG_sandbox"

OutputShape = Literal["images", "string", "list", "objects", "object", "json-text", "data-uri", "bare-base64"]


def _ascending(value: Span) -> Span:
    if isinstance(value, tuple) and value[0] > value[1]:
        raise ValueError("a range goes from the lower to the higher bound")
    return value


_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
#: Seconds, fixed or drawn from a range.
Span = float | tuple[float, float]
_Span = Annotated[_Seconds | tuple[_Seconds, _Seconds], AfterValidator(_ascending)]


def format_validation_error(error: ValidationError) -> str:
    """All errors of a validation in one line."""
    return "; ".join(
        f"{'.'.join(map(str, each['loc'])) or 'body'}: {each['msg']}" for each in error.errors(include_url=False)
    )


class Settings(BaseModel):
    """The sandbox's settings, at the start or changed while it runs. Unknown names are errors.

    :param api_keys: accepted keys; any other gets a 401.
    :param forbidden_keys: valid keys without permission for any model (403 on submit and generate).
    :param models: available models; any other gets a 404.
    :param retired_models: models that get a 410.
    :param queue_time: seconds a job is QUEUED, fixed or ``[low, high]``.
    :param latency: seconds a job is PROCESSING, fixed or ``[low, high]``.
    :param straggler_share: share of jobs that take ``straggler_latency``, 0 to 1.
    :param straggler_latency: seconds such a job is PROCESSING, fixed or ``[low, high]``.
    :param cold_start: seconds added to the queue time of a model's first job.
    :param jobs_fail: whether jobs accepted from now on fail, as those with ``[fail]`` in their prompt.
    :param expiry: seconds from submission until status and result get a 404.
    :param image_expiry: seconds from submission until the images get a 404.
    :param credits: dollars on the account; ``None``: the account has no record (404). Setting it resets the balance.
    :param free_credits: free dollars; spent before ``credits``.
    :param price: dollars per image.
    :param requests_per_minute: keyed calls per key and window before 429; ``None`` for no limit.
    :param rate_window: seconds until the count restarts; a minute at the service, shorter for fast tests.
    :param count_polls: whether status and result calls count.
    :param rate_reset: format of ``x-rate-limit-reset-at-utc``: ``"epoch"`` seconds or ``"iso"``.
    :param retry_after: whether a 429 also has ``Retry-After``.
    :param output_shape: how a result holds its images.
    :param with_metrics: whether results have ``metrics`` and ``timings``.
    :param with_seed: whether results have ``seed``.
    :param status_url_host: scheme and host in ``status_url``, ``response_url`` and ``poll_url`` instead of the
        sandbox's own, to prove that a client does not follow them.
    :param public_url: scheme and host in image URLs instead of those of the call, for browsers that reach the sandbox
        under another name than Airflow does.
    :param history_container: the key of the request history's list; ``None``: the body is the list itself.
    :param history_times: how the history writes times: ``"zoned"`` (ISO 8601), ``"naive"`` (the same without a zone),
        ``"date"`` (the day alone), ``"epoch"`` (seconds), or ``"none"``.
    :param history_utc_offset: offset of the history's times from UTC, in hours.
    :param history_lag: seconds by which the request history is behind: submissions, statuses, costs and images.
    :param history_image_lag: seconds from the row of one image of a job to that of the next.
    :param history_foreign: requests of team-mates that the history has beside each of one's own, accepted from now on.
        They repeat its prompt, seed and time, or have a model whose name begins with its model's.
    :param history_counts: whether calls to the request history count towards ``requests_per_minute`` and get its 429.
    :param fault_rate: share of responses that get a random fault, 0 to 1.
    :param seed: of all random values: latencies, image seeds, random faults.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_keys: Annotated[tuple[str, ...], Field(min_length=1)] = (DEFAULT_KEY,)
    forbidden_keys: tuple[str, ...] = ()
    models: tuple[str, ...] = tuple(CATALOGUE)
    retired_models: tuple[str, ...] = ()

    queue_time: _Span = 0.0
    latency: _Span = 0.05
    straggler_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    straggler_latency: _Span = 60.0
    cold_start: _Seconds = 0.0
    jobs_fail: bool = False
    expiry: _Seconds = 3600.0
    image_expiry: _Seconds = 7 * 24 * 3600.0

    credits: _Seconds | None = 100.0
    free_credits: _Seconds = 0.0
    price: _Seconds = 0.01

    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    rate_window: Annotated[float, Field(gt=0)] = 60.0
    count_polls: bool = True
    rate_reset: Literal["epoch", "iso"] = "epoch"
    retry_after: bool = False

    output_shape: OutputShape = "images"
    with_metrics: bool = True
    with_seed: bool = True
    status_url_host: str | None = None
    public_url: str | None = None
    history_container: str | None = "data"
    history_times: Literal["zoned", "naive", "date", "epoch", "none"] = "zoned"
    history_utc_offset: Annotated[float, Field(ge=-14, le=14)] = 0.0
    history_lag: _Seconds = 0.0
    history_image_lag: _Seconds = 0.0
    history_foreign: Annotated[int, Field(ge=0, le=20)] = 0
    history_counts: bool = False

    fault_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    seed: int = 0
