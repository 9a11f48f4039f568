"""The hook: Segmind's API with the key of an Airflow connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_kandinsky.hooks.base import DEFAULT_CONN_ID
from airflow_provider_kandinsky.hooks.connection_form import field_behaviour, form_widgets
from airflow_provider_kandinsky.hooks.messages import failure_message, result_of_test, warn_without_history
from airflow_provider_kandinsky.hooks.quote import QuoteHook
from airflow_provider_kandinsky.hooks.spending import SpendingHook
from airflow_provider_kandinsky.segmind.constants import DEFAULT_MODEL, WAIT_TIMEOUT
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.request import TextToImageRequest
from airflow_provider_kandinsky.segmind.schemas import Credits, GenerationResult, Job, JobStatus

Request = TextToImageRequest | Mapping[str, Any]


class KandinskyHook(QuoteHook, SpendingHook):
    """Talk to Segmind with the key of an Airflow connection.

    Every method has an async twin, named with an ``a`` in front, which never blocks the event loop; that of
    :meth:`wait` is :meth:`await_result`, because ``await`` is a Python keyword. A request may be given as a
    :class:`~.segmind.schemas.TextToImageRequest` or as a mapping of its parameters.

    Use as a (async) context manager, which closes its connections at the end. The blocking methods may be called from
    several threads at once, the async ones in one event loop.

    :param kandinsky_conn_id: the connection, of type ``kandinsky``: password = API key, else ``SEGMIND_API_KEY`` from
        the environment, which is for the vendor's own host only; host = base URL.
    :param poll_policy: how often jobs are polled, and for how long a 404 may pass.
    """

    conn_name_attr = "kandinsky_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = "kandinsky"
    hook_name = "Kandinsky (Segmind)"

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Read by Airflow before 3.3."""
        return field_behaviour()

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Read by Airflow before 3.3."""
        return form_widgets()

    def submit(self, request: Request, model: str = DEFAULT_MODEL, **options: Any) -> Job:
        """Submit a generation; see :meth:`~.http.client.SegmindClient.submit` for the errors.

        :param model: the model's slug.
        :param options: ``send_by`` and ``on_send``; see there.
        :return: the accepted job; it will be billed unless it fails.
        """
        client = self.get_conn()
        if not client.has_history:
            warn_without_history(self.kandinsky_conn_id)
        return client.submit(_validated(request, model), model, **options)

    async def asubmit(self, request: Request, model: str = DEFAULT_MODEL, **options: Any) -> Job:
        """The async twin of :meth:`submit`."""
        client = await self.aget_conn()
        if not client.has_history:
            warn_without_history(self.kandinsky_conn_id)
        return await client.submit(_validated(request, model), model, **options)

    def get_status(self, request_id: str) -> JobStatus:
        """Poll a job once; see :meth:`~.http.client.SegmindClient.get_status` for the errors."""
        return self.get_conn().get_status(request_id)

    async def aget_status(self, request_id: str) -> JobStatus:
        """The async twin of :meth:`get_status`."""
        return await (await self.aget_conn()).get_status(request_id)

    def get_result(self, request_id: str, model: str | None = None) -> GenerationResult:
        """Fetch the result of a finished job; see :meth:`~.http.client.SegmindClient.get_result` for the errors."""
        return self.get_conn().get_result(request_id, model)

    async def aget_result(self, request_id: str, model: str | None = None) -> GenerationResult:
        """The async twin of :meth:`get_result`."""
        return await (await self.aget_conn()).get_result(request_id, model)

    def wait(self, request_id: str, timeout: float = WAIT_TIMEOUT, model: str | None = None) -> GenerationResult:
        """Wait until a job is finished; see :meth:`~.http.client.SegmindClient.wait` for the errors.

        :param timeout: seconds from now.
        """
        return self.get_conn().wait(request_id, timeout, model)

    async def await_result(
        self, request_id: str, timeout: float = WAIT_TIMEOUT, model: str | None = None
    ) -> GenerationResult:
        """The async twin of :meth:`wait`."""
        return await (await self.aget_conn()).wait(request_id, timeout, model)

    def generate(self, request: Request, model: str = DEFAULT_MODEL) -> GenerationResult:
        """Generate with one request that lasts until the images are there (v1).

        For a notebook or a small script: if the response is lost, the generation was billed and cannot be fetched
        again. See :meth:`~.http.client.SegmindClient.generate` for the errors.
        """
        return self.get_conn().generate(_validated(request, model), model)

    async def agenerate(self, request: Request, model: str = DEFAULT_MODEL) -> GenerationResult:
        """The async twin of :meth:`generate`."""
        return await (await self.aget_conn()).generate(_validated(request, model), model)

    def get_credits(self) -> Credits:
        """The credits left on the account. The call is free."""
        return self.get_conn().get_credits()

    async def aget_credits(self) -> Credits:
        """The async twin of :meth:`get_credits`."""
        return await (await self.aget_conn()).get_credits()

    def list_models(self) -> list[str]:
        """The slugs of the service's models, see :meth:`~.http.client.SegmindClient.list_models`. The call is free."""
        return self.get_conn().list_models()

    async def alist_models(self) -> list[str]:
        """The async twin of :meth:`list_models`."""
        return await (await self.aget_conn()).list_models()

    def test_connection(self) -> tuple[bool, str]:
        """Check the API key by fetching the credits, which is free.

        :return: whether it works, and a message for the connection form.
        """
        try:
            return result_of_test(self.get_credits(), self.settings, has_history=self.get_conn().has_history)
        except KandinskyError as error:
            return False, failure_message(error, self._settings)

    async def atest_connection(self) -> tuple[bool, str]:
        """The async twin of :meth:`test_connection`."""
        try:
            client = await self.aget_conn()
            return result_of_test(
                await client.get_credits(), await self.aget_settings(), has_history=client.has_history
            )
        except KandinskyError as error:
            return False, failure_message(error, self._settings)


def _validated(request: Request, model: str) -> TextToImageRequest:
    return TextToImageRequest.of(dict(request), model=model)
