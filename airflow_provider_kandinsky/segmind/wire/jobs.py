"""Answers in, schemas out or errors raised: the only place that knows the service's JSON keys. Does no I/O.

What the vendor documents, and what had to be guessed, is told apart in ``docs/segmind-api.md``. The rules that
matter most: a job has failed only where a body says FAILED, which it does under HTTP 422, sometimes under 200, and
also behind a status of COMPLETED; the text of an error can be under any of five keys, or be an HTML page; and an
answer to a POST that cannot be understood means that the POST may have been accepted.
"""

from __future__ import annotations

from typing import Any, Final

from airflow_provider_kandinsky.segmind.errors import (
    EmptyResultError,
    InvalidResponseError,
    SubmissionUnknownError,
)
from airflow_provider_kandinsky.segmind.redaction import one_line
from airflow_provider_kandinsky.segmind.schemas import (
    Credits,
    GenerationResult,
    Image,
    Job,
    JobStatus,
    parse_request_id,
)
from airflow_provider_kandinsky.segmind.wire.error_mapping import (
    Purpose,
    Response,
    about_job,
    error_from_failed_job,
    error_from_status,
    error_text,
)
from airflow_provider_kandinsky.segmind.wire.images import collect_images, image_extension
from airflow_provider_kandinsky.segmind.wire.values import amount_in, integer_in, number_in

#: So many keys of a body that holds no image are named.
_MOST_KEYS: Final = 10


def read_submission(answer: Response) -> Job:
    """Read the answer to ``POST /v2/{model}``.

    :raises SubmissionUnknownError: for a 5xx, and for a 2xx without a usable request id: the job may exist.
    :raises KandinskyError: what the status means, for all else.
    """
    if not answer.is_success:
        raise error_from_status(answer, Purpose.SUBMIT)
    body = answer.json()
    request_id = parse_request_id(body.get("request_id")) if isinstance(body, dict) else None
    if request_id is None:
        raise SubmissionUnknownError(
            "The service accepted the request but its answer holds no request id that can be used; the job is "
            "probably running",
            http_status=answer.status,
        )
    return Job(request_id, JobStatus.parse(body.get("status")))


def read_status(answer: Response, request_id: str) -> JobStatus:
    """Read the answer to ``GET /v2/requests/{id}/status``.

    :raises JobFailedError: the job failed; failed jobs are not billed.
    :raises JobExpiredError: the service does not know the id.
    :raises KandinskyError: what the status means, for all else.
    """
    return JobStatus.parse(_job_body(answer, request_id).get("status"))


def read_result(answer: Response, request_id: str | None, model: str | None = None) -> GenerationResult:
    """Read the answer to ``GET /v2/requests/{id}``, or the JSON that v1 gives.

    :raises JobFailedError: the body says FAILED, whatever the status call had said.
    :raises InvalidResponseError: this is not the API's JSON, or the job is not finished yet.
    :raises EmptyResultError: the job is finished and no picture is in the body.
    """
    body = _job_body(answer, request_id)
    images = collect_images(body.get("images"), body.get("output"), parse=answer.parse)
    if "status" in body and not JobStatus.parse(body["status"]).is_terminal:
        raise about_job(
            InvalidResponseError,
            f"The result is not there yet: the body says {_in_short(body['status'])!r:.80}",
            answer,
            request_id,
        )
    if not images:
        keys = sorted(body)
        named = ", ".join(one_line(key, 40) for key in keys[:_MOST_KEYS]) or "none"
        more = f" and {len(keys) - _MOST_KEYS} more" if len(keys) > _MOST_KEYS else ""
        raise EmptyResultError(
            f"The job is finished, and billed, but no image is in its result; the keys that came: {named}{more}",
            http_status=answer.status,
            request_id=request_id,
        )
    metrics, timings = _object(body.get("metrics")), _object(body.get("timings"))
    return GenerationResult(
        request_id=request_id,
        images=images,
        model=model,
        seed=integer_in(body.get("seed")),
        cost=amount_in(metrics.get("cost")),
        inference_time=amount_in(metrics.get("inference_time", timings.get("inference_time"))),
        queue_time=amount_in(metrics.get("queue_time", timings.get("queue_time"))),
        total_time=amount_in(metrics.get("total_time", timings.get("total_time"))),
        metrics=metrics,
    )


def read_generation(answer: Response, model: str) -> GenerationResult:
    """Read the answer to ``POST /v1/{model}``: image bytes, or JSON.

    :raises SubmissionUnknownError: for a 5xx, and for a 2xx that is not the API's: it may have been billed.
    :raises EmptyResultError: it is finished and no picture is in the body.
    """
    if answer.is_success and image_extension(answer.content):
        return GenerationResult(request_id=None, images=(Image(data=answer.content),), model=model)
    if not answer.is_success and answer.status != 422:
        raise error_from_status(answer, Purpose.SUBMIT)
    try:
        return read_result(answer, None, model)
    except InvalidResponseError as error:
        unclear = error.message
    # Raised out here, so that no other error is in its context: what hides the key sees this one only.
    raise SubmissionUnknownError(unclear, http_status=answer.status)


def read_credits(answer: Response) -> Credits:
    """Read the answer to ``GET /v1/get-user-credits``. A 404 "No credits found for the user" is a good key."""
    body = answer.json()
    if answer.status == 404 and "no credits found" in error_text(answer).lower():
        return Credits(paid=None)
    if not answer.is_success:
        raise error_from_status(answer, Purpose.ACCOUNT)
    if not isinstance(body, dict) or number_in(body.get("credits")) is None:
        raise InvalidResponseError("The credits call was not answered with credits", http_status=answer.status)
    return Credits(paid=number_in(body["credits"]), free=number_in(body.get("free-credits")))


def _job_body(answer: Response, request_id: str | None) -> dict[str, Any]:
    """The object that a job's status and result come in, unless it says that there is none."""
    body = answer.json()
    says_failed = isinstance(body, dict) and JobStatus.parse(body.get("status")) is JobStatus.FAILED
    if says_failed and (answer.is_success or answer.status == 422):
        raise error_from_failed_job(answer, request_id)
    if answer.status == 422:
        # Not documented. To take it for a failure that costs nothing would be to pay for the job a second time.
        text = f"HTTP 422 without a status of FAILED: {error_text(answer)}"
        raise about_job(InvalidResponseError, text, answer, request_id)
    if not answer.is_success:
        raise error_from_status(answer, Purpose.JOB, request_id)
    if not isinstance(body, dict):
        raise about_job(InvalidResponseError, f"Not the API's JSON: {error_text(answer)}", answer, request_id)
    return body


def _in_short(status: Any) -> Any:
    """A status that is none, as little of it as a message shows."""
    if isinstance(status, str):
        return status[:80]
    return type(status).__name__ if isinstance(status, (dict, list)) else status


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
