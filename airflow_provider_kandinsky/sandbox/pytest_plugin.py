"""The fixture ``kandinsky_sandbox`` for tests of your own DAGs.

Every pytest run in the environment loads it, so it imports nothing heavy before the fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow_provider_kandinsky.sandbox.client import Sandbox


@pytest.fixture(scope="session")
def _kandinsky_sandbox_server() -> Iterator[Sandbox]:
    try:
        from airflow_provider_kandinsky.sandbox.server import running_sandbox
    except ModuleNotFoundError as error:
        missing = error.name
    else:
        with running_sandbox(latency=0.05) as sandbox:
            yield sandbox
        return
    pytest.fail(
        f"The fixture kandinsky_sandbox needs {missing}: pip install 'airflow-provider-kandinsky[sandbox]'",
        pytrace=False,
    )


@pytest.fixture
def kandinsky_sandbox(_kandinsky_sandbox_server: Sandbox) -> Sandbox:
    """A local Segmind, reset for each test: jobs take 0.05 seconds, and nothing is billed.

    Point Airflow at it with ``monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", kandinsky_sandbox.connection())``.
    """
    _kandinsky_sandbox_server.reset()
    return _kandinsky_sandbox_server
