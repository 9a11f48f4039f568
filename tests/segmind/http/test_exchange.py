"""What both clients send with every request, and how long they wait for its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from airflow_provider_kandinsky import __version__
from airflow_provider_kandinsky.segmind.constants import GENERATE_TIMEOUT
from airflow_provider_kandinsky.segmind.errors import ConfigurationError
from airflow_provider_kandinsky.segmind.schemas import TextToImageRequest

Connect = Callable[..., Any]


class Service(httpx.MockTransport):
    """Responds to all calls and keeps the requests. Its jobs are completed unless their status is set."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.status: Callable[[], str] = lambda: "COMPLETED"
        super().__init__(self.respond)

    def respond(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        image = "https://images.segmind.com/1.png"
        body = {"request_id": "r-1", "status": self.status(), "output": image, "credits": 3}
        return httpx.Response(200, json=body)


def test_the_headers_of_every_request(connect: Connect, a_cat: TextToImageRequest) -> None:
    service = Service()
    client = connect("https://segmind.test/", " SG_x ", transport=service)
    client.submit(a_cat)
    client.get_status("r-1")
    for request in service.requests:
        assert request.headers["x-api-key"] == "SG_x"
        assert request.headers["user-agent"] == f"airflow-provider-kandinsky/{__version__}"
        assert request.headers["accept"] == "application/json, image/*"


@pytest.mark.parametrize(
    ("request_timeout", "connect_within"), [(30.0, 5.0), (10.0, 5.0), (4.0, 2.0)], ids=["30 s", "10 s", "4 s"]
)
def test_connecting_times_out_before_the_whole_request(
    connect: Connect, request_timeout: float, connect_within: float
) -> None:
    service = Service()
    connect(transport=service, request_timeout=request_timeout).get_credits()
    limits = {"connect": connect_within, "pool": request_timeout / 2, "read": request_timeout, "write": request_timeout}
    assert service.requests[0].extensions["timeout"] == limits


def test_a_request_has_30_s_and_a_generation_600(connect: Connect, a_cat: TextToImageRequest) -> None:
    service = Service()
    client = connect(transport=service)
    client.get_credits()
    client.generate(a_cat)
    assert [request.extensions["timeout"]["read"] for request in service.requests] == [30.0, GENERATE_TIMEOUT]
    assert GENERATE_TIMEOUT == 600.0


def test_the_properties_of_a_client(connect: Connect) -> None:
    client = connect("segmind.test/v1")
    assert (client.base_url, client.has_history) == ("https://segmind.test", False)
    assert connect(history_url="https://segmind.test/history").has_history


def test_the_key_is_sent_unencrypted_only_if_that_is_allowed(connect: Connect) -> None:
    with pytest.raises(ConfigurationError, match="unencrypted"):
        connect("http://10.0.0.1")
    assert connect("http://10.0.0.1", allow_insecure=True).base_url == "http://10.0.0.1"


def test_a_wait_keeps_to_its_interval_and_to_its_deadline(connect: Connect, fake_time: Any) -> None:
    client = connect(transport=Service())
    now = fake_time.now
    client.poll_until_done("r-1", submitted_at=now, deadline=now + 100, poll_interval=7.0)
    client.poll_until_done("r-1", submitted_at=fake_time.now, deadline=fake_time.now + 3, poll_interval=7.0)
    assert fake_time.pauses == [7.0, 3.0]
