"""Airflow reads its home when it is imported, so it gets one of its own before any test module does that."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from s3fs import S3FileSystem

    from airflow_provider_kandinsky.sandbox.client import Sandbox

    from .support.task_instance import FakeTaskInstance

_airflow_home = tempfile.TemporaryDirectory(prefix="airflow-home-", ignore_cleanup_errors=True)
os.environ["AIRFLOW_HOME"] = _airflow_home.name
# The examples bring a listener with them, for which tasks would have to end in a worker.
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

# The environment of "make distributed" has none: it holds what many machines have, and pytest.
if find_spec("hypothesis"):
    from hypothesis import HealthCheck, settings

    # The same examples in every run, however busy the machine, and no files left behind.
    settings.register_profile(
        "steady", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("steady")
    # For "make unit" and "make matrix": pytest --hypothesis-profile=quick
    settings.register_profile("quick", settings.get_profile("steady"), max_examples=10)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """For ``-n auto``: two more than there are cores, because some tests wait."""
    return (os.cpu_count() or 1) + 2


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups, and pytest the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that need an S3 in one process: to import and start its server takes seconds."""
    for each in items:
        # A store in S3 is a parameter of the fixture ``ti``.
        parameters = each.callspec.params.values() if hasattr(each, "callspec") else ()
        if "s3" in getattr(each, "fixturenames", ()) or "s3" in parameters:
            each.add_marker(pytest.mark.heavy)
            if not each.get_closest_marker("xdist_group"):
                each.add_marker(pytest.mark.xdist_group("s3"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Spare the garbage collector what was imported, and check that xdist keeps groups together."""
    # The objects of what was imported stay to the end, so the garbage collector need not walk them in each test.
    gc.collect()
    gc.freeze()
    # With a pytest that xdist does not understand, groups are forgotten without a word.
    if getattr(session.config.option, "loadgroup", False):
        forgotten = [
            each.nodeid for each in session.items if each.get_closest_marker("xdist_group") and "@" not in each.nodeid
        ]
        assert not forgotten, f"this pytest-xdist does not keep groups together: {forgotten[:3]}"


@pytest.fixture(scope="session")
def _s3() -> Iterator[S3FileSystem]:
    from moto import backends
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    services = frozenset(backends.list_of_moto_modules())
    with pytest.MonkeyPatch.context() as patch:
        # For each request the server lists the folders of all services.
        patch.setattr(backends, "list_of_moto_modules", lambda: services)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        yield S3FileSystem(
            key="nobody",
            secret="none",
            endpoint_url=f"http://{host}:{port}",
            skip_instance_cache=True,
            use_listings_cache=False,
        )
        server.stop()


@pytest.fixture
def s3(_s3: S3FileSystem) -> Iterator[S3FileSystem]:
    """A local S3 behind the connection ``moto``, with a bucket named ``pictures``, which is empty."""
    from airflow.sdk.io import attach

    _s3.mkdir("pictures")
    attach("s3", conn_id="moto", fs=_s3)
    yield _s3
    _s3.rm("pictures", recursive=True)


@pytest.fixture(scope="session")
def _kandinsky_sandbox_server() -> Iterator[Sandbox]:
    """In the place of the plugin's: here jobs are finished when they are accepted, unless a test wants it otherwise.

    A batch whose jobs still run when it first reads the history waits two seconds until it reads it again.
    """
    from airflow_provider_kandinsky.sandbox.server import running_sandbox

    with running_sandbox(latency=0) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(kandinsky_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """A sandbox that the connection ``kandinsky_default`` leads to."""
    monkeypatch.setenv("AIRFLOW_CONN_KANDINSKY_DEFAULT", kandinsky_sandbox.connection())
    return kandinsky_sandbox


@pytest.fixture
def ti() -> FakeTaskInstance:
    from .support.task_instance import FakeTaskInstance  # imports Airflow

    return FakeTaskInstance()


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where images are stored, as a URI."""
    if request.param == "local":
        return f"file://{tmp_path}"
    request.getfixturevalue("s3")
    return "s3://moto@pictures/cats"
