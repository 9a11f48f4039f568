"""The calls of the API, each sent by itself; what waits for jobs is in :mod:`~.async_client`."""

from __future__ import annotations

from collections.abc import Callable

from airflow_provider_kandinsky.segmind.constants import DEFAULT_MODEL, GENERATE_TIMEOUT
from airflow_provider_kandinsky.segmind.http.sender import RequestSender
from airflow_provider_kandinsky.segmind.request import TextToImageRequest
from airflow_provider_kandinsky.segmind.schemas import Credits, GenerationResult, Job, JobStatus
from airflow_provider_kandinsky.segmind.wire.history import PastRequest


class SingleCalls:
    """The calls of one account.

    :param sender: sends them.
    """

    def __init__(self, sender: RequestSender) -> None:
        self._sender = sender

    @property
    def base_url(self) -> str:
        """Where the requests go; part of a submission's fingerprint."""
        return self._sender.api.base_url

    @property
    def has_history(self) -> bool:
        """Whether there is a request history."""
        return self._sender.api.history_url is not None

    async def submit(
        self,
        request: TextToImageRequest,
        model: str = DEFAULT_MODEL,
        *,
        send_by: float | None = None,
        on_send: Callable[[float], None] | None = None,
    ) -> Job:
        """Submit a generation.

        :param send_by: wall clock, seconds since the epoch; a POST that cannot be sent by then is not sent at all.
        :param on_send: called with the time just before each try of the POST, in the thread or event loop that sends
            it; if it raises, the POST is not sent.
        :raises SubmissionUnknownError: the request was sent and the response lost; it may have been accepted.
        :raises RateLimitedError: rate limited for longer than the :class:`~.retry.RetryPolicy` waits; nothing was
            accepted.
        :raises ServiceUnavailableError: not reached in that time; nothing was sent.
        :raises KandinskyError: rejected; nothing was accepted.
        """
        return await self._sender.send_with_retries(self._sender.api.submit(request, model, on_send), send_by)

    async def get_status(self, request_id: str) -> JobStatus:
        """Poll the status of a job once.

        :raises JobFailedError: the job failed. Failed jobs are not billed.
        :raises JobExpiredError: the service has no record of the job.
        :raises KandinskyError: the poll failed.
        """
        return await self._sender.send(self._sender.api.status(request_id))

    async def get_result(self, request_id: str, model: str | None = None) -> GenerationResult:
        """Fetch the result of a completed job.

        :param model: the slug, for the result; the service does not return it.
        :raises JobFailedError: the job failed, whatever its status was.
        :raises InvalidResponseError: the job has not finished.
        :raises EmptyResultError: the job has finished without an image.
        :raises KandinskyError: the call failed.
        """
        return await self._sender.send(self._sender.api.result(request_id, model))

    async def generate(self, request: TextToImageRequest, model: str = DEFAULT_MODEL) -> GenerationResult:
        """Submit a generation and wait for its result in the same request (v1), for at most 600 s.

        There is no request id, so a lost result cannot be fetched again.

        :raises SubmissionUnknownError: the response was lost; the generation may have been billed.
        :raises KandinskyError: rejected.
        """
        return await self._sender.send(self._sender.api.generate(request, model), GENERATE_TIMEOUT)

    async def get_credits(self) -> Credits:
        """Read the balance of the account. Free of charge."""
        return await self._sender.send(self._sender.api.credits())

    async def list_models(self) -> list[str]:
        """Read the slugs of the service's models, from the host of the request history. Free of charge.

        :return: at most 2000, in the service's order.
        :raises ConfigurationError: there is no history URL.
        :raises InvalidResponseError: there are no slugs in the response, whose form is not documented.
        :raises KandinskyError: the call failed.
        """
        return await self._sender.send(self._sender.api.models())

    async def get_history(
        self, model: str, since: float, page: int = 1, *, until: float | None = None
    ) -> list[PastRequest]:
        """Read one page of the history of a model: 100 rows, newest first. Free of charge.

        :param since: seconds since the epoch; the history goes by whole days, so older requests may be included.
        :param until: seconds since the epoch, likewise; ``None`` is now.
        :raises ConfigurationError: there is no history URL.
        :raises KandinskyError: the call failed.
        """
        return await self._sender.send_with_retries(self._sender.api.history(model, since, page, until))

    async def get_past_request(self, request_id: str) -> PastRequest | None:
        """Read one request, of any age, from the history. Free of charge.

        :return: ``None`` if the history does not have it. Of several images there may be only one.
        :raises ConfigurationError: there is no history URL.
        :raises KandinskyError: the call failed.
        """
        return await self._sender.send_with_retries(self._sender.api.past_request(request_id))
