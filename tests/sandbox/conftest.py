from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_kandinsky.sandbox.server import Sandbox

from .fakes import Caller


@pytest.fixture
def caller(kandinsky_sandbox: Sandbox) -> Iterator[Caller]:
    # Jobs are over as soon as they are accepted, so that no test here has to wait for one.
    kandinsky_sandbox.configure(latency=0)
    caller = Caller(kandinsky_sandbox)
    with caller.http:
        yield caller
