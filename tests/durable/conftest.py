"""The rules of money hold wherever the ledger is kept."""

from __future__ import annotations

import pytest

from ..support.ledger_in_files import make_store
from ..support.task_instance import FakeTaskInstance


@pytest.fixture(params=["task state store", "files"])
def ti(request: pytest.FixtureRequest) -> FakeTaskInstance:
    ti = FakeTaskInstance()
    ti.store = make_store(request.param, request)
    return ti
