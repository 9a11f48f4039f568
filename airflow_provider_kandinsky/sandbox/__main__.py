"""``python -m airflow_provider_kandinsky.sandbox``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

# The extra's dependencies are imported below, where a missing one can be reported.
from pydantic import ValidationError

from airflow_provider_kandinsky.sandbox.settings import DEFAULT_KEY, Settings, format_validation_error


def _span(text: str) -> float | tuple[float, ...]:
    """Seconds, as ``3`` or ``2-5``."""
    bounds = tuple(float(part) for part in text.split("-"))
    return bounds[0] if len(bounds) == 1 else bounds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_kandinsky.sandbox",
        description="A local Segmind: the same API, no bill.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8765, help="0 for any free port (default: %(default)s)")
    parser.add_argument(
        "--key",
        action="append",
        dest="api_keys",
        help=f"API key to accept; can be repeated (default: {DEFAULT_KEY})",
    )
    parser.add_argument("--latency", type=_span, default=3.0, help="seconds in processing, as 3 or 2-5 (default: 3)")
    parser.add_argument("--queue-time", type=_span, help="seconds in the queue, as 1 or 0-4 (default: 0)")
    parser.add_argument("--cold-start", type=float, help="seconds added for the first job of a model (default: 0)")
    parser.add_argument("--requests-per-minute", type=int, help="calls per key before 429 (default: no limit)")
    parser.add_argument("--credits", type=float, help="dollars on the account (default: 100)")
    parser.add_argument("--price", type=float, help="dollars per image (default: 0.01)")
    parser.add_argument("--expiry", type=float, help="seconds that records are kept (default: 3600)")
    parser.add_argument("--fault-rate", type=float, help="share of responses with a random fault, 0 to 1 (default: 0)")
    parser.add_argument("--seed", type=int, help="of all random values (default: 0)")
    parser.add_argument("--output-shape", help="how results hold their images (default: images)")
    parser.add_argument("--public-url", help="scheme and host of image URLs (default: those of the call)")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until SIGTERM or SIGINT."""
    parser = _parser()
    given: dict[str, Any] = vars(parser.parse_args(arguments))
    host, port = given.pop("host"), given.pop("port")
    try:
        settings = Settings(**given)
    except ValidationError as error:
        parser.error(format_validation_error(error))
    try:
        from airflow_provider_kandinsky.sandbox.client import Sandbox
        from airflow_provider_kandinsky.sandbox.server import SandboxServer, listen
    except ModuleNotFoundError as error:
        sys.exit(f"The sandbox needs {error.name}: pip install 'airflow-provider-kandinsky[sandbox]'")
    try:
        listener = listen(host, port)
    except OSError as error:
        sys.exit(f"Cannot listen on {host}:{port}: {error.strerror}")

    # uvicorn raises the signal again after its shutdown; then only the exit code is left to set.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    address, port = listener.getsockname()[:2]
    # Clients cannot connect to the wildcard address.
    reachable = "127.0.0.1" if ip_address(address).is_unspecified else host
    with Sandbox(f"http://{reachable}:{port}", settings.api_keys[0]) as sandbox:
        message = (
            f"Segmind sandbox on {sandbox.url} with key {sandbox.api_key}: "
            f"export AIRFLOW_CONN_KANDINSKY_DEFAULT='{sandbox.connection()}'\n"
        )

        def announce() -> None:
            sys.stdout.write(message)
            sys.stdout.flush()

        SandboxServer(settings, announce).run(sockets=[listener])


if __name__ == "__main__":
    main()
