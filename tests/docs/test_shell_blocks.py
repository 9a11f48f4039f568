"""The shell blocks of a page are one session, run by bash from top to bottom in an empty folder.

A block that is named as a file (``Save this as `dags/x.py`:``) is written there in its turn, and what a text block
shows has to be printed by the shell block before it.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from demo.process_session import ProcessSession

from .documentation import PAGES, ROOT, Block, blocks_of, name_of

COMMANDS = Path(__file__).with_name("shell_session.bash")
SESSIONS = [page for page in PAGES if any(block.language == "bash" for block in blocks_of(page))]
MARK = "@@@ block "
COLOUR = re.compile(r"\x1b\[[\d;]*m")


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def script_of(page: Path) -> str:
    lines = ["set -eo pipefail", f"source '{COMMANDS}'"]
    for block in blocks_of(page):
        if block.language == "bash":
            lines += [f"echo '{MARK}{block.line}'", block.text]
        elif block.file_name:
            lines += [f"mkdir -p \"$(dirname '{block.file_name}')\"", f"cat >'{block.file_name}' <<'END OF FILE'"]
            lines += [f"{block.text}END OF FILE"]
    return "\n".join([*lines, f"echo '{MARK}none'"])


def environment(home: Path, api_port: str) -> dict[str, str]:
    """Nothing of the user's own Airflow, and no key that could be spent, gets in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "SEGMIND"))}
    return kept | {
        "HOME": str(home),
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__API__PORT": api_port,
        "AIRFLOW__API__BASE_URL": f"http://localhost:{api_port}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://localhost:{api_port}/execution/",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "0",
        "DOCS_PYTHON": sys.executable,
        "DOCS_AIRFLOW": str(Path(sys.executable).with_name("airflow")),
        "DOCS_ROOT": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }


def shown_by(page: Path) -> Iterator[tuple[Block, Block]]:
    """Each text block, with the shell block whose output it shows."""
    command = None
    for block in blocks_of(page):
        if block.language == "bash":
            command = block
        elif block.language == "text":
            assert command is not None, block
            yield block, command


def assert_printed(shown: str, output: str) -> None:
    """All lines are there, in their order, with anything in the place of ``…``."""
    pattern = r".*?".join(
        ".*?".join(re.escape(piece) for piece in line.strip().split("…")) for line in shown.splitlines() if line.strip()
    )
    assert re.search(pattern, output, re.DOTALL), f"not printed:\n{shown}\nbut:\n{output}"


@pytest.mark.xdist_group("site")
@pytest.mark.parametrize("page", SESSIONS, ids=name_of)
def test_sessions(page: Path, tmp_path: Path) -> None:
    sandbox_port, api_port = free_port(), free_port()
    script = tmp_path / "session.bash"
    script.write_text(script_of(page).replace("8765", sandbox_port).replace("8080", api_port), encoding="utf-8")
    home = tmp_path / "home"
    home.mkdir()
    log = tmp_path / "log"
    session = ProcessSession(["bash", "-c", f"cd {home} && . {script}"], log, environment(home, api_port))
    try:
        # A session that is not over by then says in its log what it was about.
        with suppress(subprocess.TimeoutExpired):
            session.wait(timeout=600)
        exit_code = session.exit_code
    finally:
        session.kill()
    everything = COLOUR.sub("", log.read_text(encoding="utf-8", errors="replace"))
    assert exit_code == 0, everything
    outputs = dict(re.findall(rf"^{MARK}(\w+)\n(.*?)(?=^{MARK}|\Z)", everything, re.MULTILINE | re.DOTALL))
    for shown, command in shown_by(page):
        assert_printed(shown.text, outputs[str(command.line)].replace(sandbox_port, "8765").replace(api_port, "8080"))
