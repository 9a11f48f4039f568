"""The sandbox and its clients in one event loop in virtual time, so that a busy hour takes seconds."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

import httpx

from airflow_provider_kandinsky.sandbox.app import create_app
from airflow_provider_kandinsky.sandbox.settings import DEFAULT_KEY, Settings
from airflow_provider_kandinsky.segmind.http.async_client import AsyncSegmindClient

T = TypeVar("T")

T0 = 1_700_000_000.0
#: Virtual seconds that a test may take.
LONGEST = 4 * 3600.0


class NoWaiting(selectors.DefaultSelector):
    """Puts the clock forward where a loop would sleep until its next timer. A turn of the loop takes a microsecond,
    because some code counts on time passing."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0 if timeout else timeout)
        self.passed += 1e-6 if ready or not timeout else max(timeout, 1e-6)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while all tasks are waiting."""

    def __init__(self, selector: NoWaiting | None = None) -> None:
        self._virtual = selector or NoWaiting()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.passed

    def stall(self, seconds: float) -> None:
        """Let time pass in which nothing runs."""
        self._virtual.passed += seconds


def run(work: Coroutine[Any, Any, T]) -> T:
    """As ``asyncio.run``, in virtual time and with the same random numbers each time. Fails after :data:`LONGEST`."""

    async def within_hours() -> T:
        async with asyncio.timeout(LONGEST):
            return await work

    random.seed(1)
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(within_hours())


class Exchange(NamedTuple):
    """One request, and the status of its response."""

    at: float
    path: str
    status: int


class Service(httpx.AsyncBaseTransport):
    """The sandbox as a transport; make it inside the loop.

    :param travel: seconds that a request takes to arrive, and as many for its response.
    """

    def __init__(self, travel: float = 0.05, **settings: Any) -> None:
        loop = asyncio.get_running_loop()
        self.clock: Callable[[], float] = lambda: T0 + loop.time()
        self.exchanges: list[Exchange] = []
        self.under_way: Counter[str] = Counter()
        self.most_under_way = 0
        self.doubled: set[str] = set()
        self._travel = travel
        app = create_app(Settings(credits=1e6, **settings), self.clock)
        self._service = app.state.service
        self._app = httpx.ASGITransport(app)

    def client(self, **settings: Any) -> AsyncSegmindClient:
        """A client of the service."""
        return AsyncSegmindClient(DEFAULT_KEY, "http://localhost", transport=self, clock=self.clock, **settings)

    def configure(self, **changes: Any) -> None:
        """Change settings of the sandbox."""
        self._service.configure(changes)

    def count(self, status: int) -> int:
        """How many responses had this status."""
        return sum(each.status == status for each in self.exchanges)

    @property
    def polls(self) -> int:
        """How many requests polled a job's status."""
        return sum(each.path.endswith("/status") for each in self.exchanges)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Count, and hand over to the sandbox."""
        job = request.url.path.removesuffix("/status")
        self.under_way[job] += 1
        if request.method == "GET" and self.under_way[job] > 1:
            self.doubled.add(job)
        self.most_under_way = max(self.most_under_way, self.under_way.total())
        try:
            await asyncio.sleep(self._travel)
            at = self.clock()
            response = await self._app.handle_async_request(request)
            self.exchanges.append(Exchange(at, request.url.path, response.status_code))
            await asyncio.sleep(self._travel)
        finally:
            self.under_way[job] -= 1
        return response
