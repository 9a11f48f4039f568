"""Airflow reads its home when it is imported, so it gets one of its own before any test module does that."""

import os
import tempfile

import pytest

_airflow_home = tempfile.TemporaryDirectory(prefix="airflow-home-", ignore_cleanup_errors=True)
os.environ["AIRFLOW_HOME"] = _airflow_home.name
# The examples bring a listener with them, for which tasks would have to end in a worker.
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


@pytest.fixture(autouse=True)
def _nothing_learned() -> None:
    """What one test has taught this process of the service is not known to the next."""
    from airflow_provider_kandinsky.segmind.completion_times import completion_times

    completion_times.cache_clear()
