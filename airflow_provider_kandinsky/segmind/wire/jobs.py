"""Read the responses about jobs and credits into schemas, or raise errors. Does no I/O.

``docs/segmind-api.md`` separates what the vendor documents from what had to be guessed. The rules that matter most: a
job has failed only if a body says FAILED, with HTTP 422, sometimes with 200, and even after a status of COMPLETED; a
response to a POST that cannot be understood means that the POST may have been accepted.
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
    about_job,
    error_from_failed_job,
    error_from_status,
)
from airflow_provider_kandinsky.segmind.wire.images import collect_images, image_extension
from airflow_provider_kandinsky.segmind.wire.response import Response, error_text
from airflow_provider_kandinsky.segmind.wire.values import amount_in, integer_in, number_in

#: The most keys that are named of a body without an image.
_MAX_KEYS: Final = 10


def read_submission(response: Response, model: str | None = None) -> Job:
    """Read the response to ``POST /v2/{model}``.

    :param model: the slug; if that is retired, the error names others of its family.

    :raises SubmissionUnknownError: a 5xx, or a 2xx without a usable request id: the job may exist.
    :raises KandinskyError: any other status but 2xx; see :func:`~.error_mapping.error_from_status`.
    """
    if not response.is_success:
        raise error_from_status(response, Purpose.SUBMIT, model=model)
    body = response.json()
    request_id = parse_request_id(body.get("request_id")) if isinstance(body, dict) else None
    if request_id is None:
        raise SubmissionUnknownError(
            "The service accepted the request but its response has no usable request id; the job is probably running",
            http_status=response.status,
        )
    return Job(request_id, JobStatus.parse(body.get("status")))


def read_status(response: Response, request_id: str) -> JobStatus:
    """Read the response to ``GET /v2/requests/{id}/status``.

    :raises JobFailedError: the job failed; failed jobs are not billed.
    :raises JobExpiredError: the service has no record of the job.
    :raises KandinskyError: any other status but 2xx; see :func:`~.error_mapping.error_from_status`.
    """
    return JobStatus.parse(_job_body(response, request_id).get("status"))


def read_result(response: Response, request_id: str | None, model: str | None = None) -> GenerationResult:
    """Read the response to ``GET /v2/requests/{id}``, or the JSON of v1.

    :raises JobFailedError: the body says FAILED, whatever the status call had returned.
    :raises InvalidResponseError: this is not the API's JSON, or the job has not finished.
    :raises EmptyResultError: the job has finished and no image is in the body.
    """
    body = _job_body(response, request_id)
    images = collect_images(body.get("images"), body.get("output"), parse=response.parse)
    if "status" in body and not JobStatus.parse(body["status"]).is_terminal:
        text = f"The result is not ready: the status in it is {_abbreviated(body['status'])!r:.80}"
        raise about_job(InvalidResponseError, text, response.status, request_id)
    if not images:
        keys = sorted(body)
        named = ", ".join(one_line(key, 40) for key in keys[:_MAX_KEYS]) or "none"
        more = f" and {len(keys) - _MAX_KEYS} more" if len(keys) > _MAX_KEYS else ""
        raise EmptyResultError(
            f"The job has finished, and is billed, but its result has no image; its keys are: {named}{more}",
            http_status=response.status,
            request_id=request_id,
        )
    metrics = _object(body.get("metrics"))
    times = _object(body.get("timings")) | metrics
    return GenerationResult(
        request_id=request_id,
        images=images,
        model=model,
        seed=integer_in(body.get("seed")),
        cost=amount_in(metrics.get("cost")),
        inference_time=amount_in(times.get("inference_time")),
        queue_time=amount_in(times.get("queue_time")),
        total_time=amount_in(times.get("total_time")),
        metrics=metrics,
    )


def read_generation(response: Response, model: str) -> GenerationResult:
    """Read the response to ``POST /v1/{model}``: image bytes, or JSON.

    :raises SubmissionUnknownError: a 5xx, or a 2xx that is not the API's: it may have been billed.
    :raises EmptyResultError: it has finished and no image is in the body.
    """
    if response.is_success and image_extension(response.content):
        return GenerationResult(request_id=None, images=(Image(data=response.content),), model=model)
    if not response.is_success and response.status != 422:
        raise error_from_status(response, Purpose.SUBMIT, model=model)
    try:
        return read_result(response, None, model)
    except InvalidResponseError as error:
        reason = error.message
    # Raised here, without another error as its context: only this one has the key redacted.
    raise SubmissionUnknownError(reason, http_status=response.status)


def read_credits(response: Response) -> Credits:
    """Read the response to ``GET /v1/get-user-credits``. A 404 "No credits found for the user" means a valid key."""
    body = response.json()
    if response.status == 404 and "no credits found" in error_text(response).lower():
        return Credits(paid=None)
    if not response.is_success:
        raise error_from_status(response, Purpose.ACCOUNT)
    if not isinstance(body, dict) or number_in(body.get("credits")) is None:
        raise InvalidResponseError("The response to the credits call has no credits", http_status=response.status)
    return Credits(paid=number_in(body["credits"]), free=number_in(body.get("free-credits")))


def _job_body(response: Response, request_id: str | None) -> dict[str, Any]:
    """The JSON object with a job's status or result; raises if the job failed or there is no object."""
    body = response.json()
    says_failed = isinstance(body, dict) and JobStatus.parse(body.get("status")) is JobStatus.FAILED
    if says_failed and (response.is_success or response.status == 422):
        raise error_from_failed_job(response, request_id)
    if response.status == 422:
        # Not documented. Taken for a failure, which is not billed, it would lead to paying for the job twice.
        text = f"HTTP 422 without a status of FAILED: {error_text(response)}"
        raise about_job(InvalidResponseError, text, response.status, request_id)
    if not response.is_success:
        raise error_from_status(response, Purpose.JOB, request_id)
    if not isinstance(body, dict):
        text = f"Not the API's JSON: {error_text(response)}"
        raise about_job(InvalidResponseError, text, response.status, request_id)
    return body


def _abbreviated(status: Any) -> Any:
    """An invalid status, short enough for a message."""
    if isinstance(status, str):
        return status[:80]
    return type(status).__name__ if isinstance(status, (dict, list)) else status


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
