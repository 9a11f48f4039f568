"""As a process, and as a fixture in a user's tests."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_kandinsky.sandbox.client import Sandbox
from airflow_provider_kandinsky.sandbox.server import listen

from .fakes import Caller

MODULE = "airflow_provider_kandinsky.sandbox"
COMMAND = [sys.executable, "-m", MODULE]

pytestmark = pytest.mark.heavy

#: A Python in which the packages of the extra are not installed.
WITHOUT_EXTRA = """
import sys
for name in ("starlette", "uvicorn", "PIL"):
    sys.modules[name] = None
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_as_a_process_and_leaves_quietly(number: signal.Signals):
    arguments = ["--port", "0", "--latency", "0-0.5", "--key", "SG_mine", "--credits", "0.01", "--expiry", "60"]
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        greeting = process.stdout.readline()
        connection = json.loads(re.search(r"KANDINSKY_DEFAULT='(.*)'$", greeting.strip())[1])
        with Sandbox(connection["host"], connection["password"]) as sandbox:
            assert sandbox.url in greeting
            assert json.loads(sandbox.connection()) == connection
            assert (sandbox.settings["latency"], sandbox.settings["expiry"]) == ([0, 0.5], 60)
            caller = Caller(sandbox)
            with caller.http:
                caller.submit()
                assert caller.post().status_code == 406
            assert len(sandbox.submissions) == 1
        process.send_signal(number)
        assert process.communicate(timeout=60) == ("", "")
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["--latency", "5-2"], "latency"), (["--fault-rate", "2"], "fault_rate"), (["--output-shape", "jpeg"], "images")],
)
def test_arguments_that_make_no_sense(arguments: list[str], complaint: str):
    finished = subprocess.run([*COMMAND, "--port", "0", *arguments], capture_output=True, text=True)
    assert finished.returncode == 2
    assert complaint in finished.stderr.splitlines()[-1]
    assert "Traceback" not in finished.stderr


def test_a_port_that_is_taken():
    with listen() as taken:
        port = str(taken.getsockname()[1])
        finished = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True)
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"Cannot listen on 127.0.0.1:{port}: Address already in use")
    assert len(finished.stderr.splitlines()) == 1


def test_without_the_extra_the_command_says_what_to_install():
    code = f"{WITHOUT_EXTRA}\nfrom {MODULE}.__main__ import main\nmain([])"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.returncode == 1
    assert finished.stderr.endswith("pip install 'airflow-provider-kandinsky[sandbox]'\n")
    assert "Traceback" not in finished.stderr


def run_pytest(folder: Path, test: str, conftest: str = "") -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(conftest)
    (folder / "test_mine.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


def test_the_fixture_in_somebody_elses_tests(tmp_path: Path):
    finished = run_pytest(
        tmp_path,
        """
import httpx

def bill(sandbox):
    headers = {"x-api-key": sandbox.api_key}
    httpx.post(f"{sandbox.url}/v2/kandinsky2.1-txt2im", json={"prompt": "a cat"}, headers=headers).raise_for_status()
    return len(sandbox.submissions)

def test_one(kandinsky_sandbox):
    assert bill(kandinsky_sandbox) == 1

def test_each_test_begins_with_an_empty_sandbox(kandinsky_sandbox):
    assert bill(kandinsky_sandbox) == 1
""",
    )
    assert "2 passed" in finished.stdout, finished.stdout


def test_without_the_extra_only_tests_that_ask_for_the_fixture_fail(tmp_path: Path):
    finished = run_pytest(
        tmp_path, "def test_one(): pass\ndef test_two(kandinsky_sandbox): pass\n", conftest=WITHOUT_EXTRA
    )
    assert "1 passed, 1 error" in finished.stdout, finished.stdout
    assert "pip install 'airflow-provider-kandinsky[sandbox]'" in finished.stdout


def test_the_plugin_imports_nothing_heavy():
    code = f"import sys, pytest, {MODULE}.pytest_plugin; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert f"{MODULE}.pytest_plugin" in loaded
    assert not {"airflow", "starlette", "uvicorn", "PIL", "httpx", "pydantic"} & set(loaded)
