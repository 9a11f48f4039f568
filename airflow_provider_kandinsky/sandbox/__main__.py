"""``python -m airflow_provider_kandinsky.sandbox``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

# Only what comes with the provider itself: what the extra brings is imported where its absence can be explained.
from pydantic import ValidationError

from airflow_provider_kandinsky.sandbox.settings import DEFAULT_KEY, Settings, in_words


def _span(text: str) -> float | tuple[float, ...]:
    """Seconds, as ``3`` or ``2-5``."""
    bounds = tuple(float(part) for part in text.split("-"))
    return bounds[0] if len(bounds) == 1 else bounds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_kandinsky.sandbox",
        description="A local Segmind: the same wire, no bill.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8765, help="0 for any that is free (default: %(default)s)")
    parser.add_argument(
        "--key",
        action="append",
        dest="api_keys",
        help=f"API key to accept; can be given several times (default: {DEFAULT_KEY})",
    )
    parser.add_argument("--latency", type=_span, default=3.0, help="seconds of painting, as 3 or 2-5 (default: 3)")
    parser.add_argument("--queue-time", type=_span, help="seconds before painting, as 1 or 0-4 (default: 0)")
    parser.add_argument("--cold-start", type=float, help="seconds added for the first job of a model (default: 0)")
    parser.add_argument("--requests-per-minute", type=int, help="calls per key before 429 (default: no limit)")
    parser.add_argument("--credits", type=float, help="dollars on the account (default: 100)")
    parser.add_argument("--price", type=float, help="dollars per picture (default: 0.01)")
    parser.add_argument("--expiry", type=float, help="seconds that records are kept (default: 3600)")
    parser.add_argument("--fault-rate", type=float, help="share of answers that go wrong, 0 to 1 (default: 0)")
    parser.add_argument("--seed", type=int, help="of everything that is drawn (default: 0)")
    parser.add_argument("--output-shape", help="how results hold their pictures (default: images)")
    parser.add_argument("--public-url", help="scheme and host of picture URLs (default: those of the call)")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until SIGTERM or SIGINT."""
    parser = _parser()
    given: dict[str, Any] = vars(parser.parse_args(arguments))
    host, port = given.pop("host"), given.pop("port")
    try:
        settings = Settings(**given)
    except ValidationError as error:
        parser.error(in_words(error))
    try:
        from airflow_provider_kandinsky.sandbox.server import Sandbox, SandboxServer, listen
    except ModuleNotFoundError as error:
        sys.exit(f"The sandbox needs {error.name}: pip install 'airflow-provider-kandinsky[sandbox]'")
    try:
        listener = listen(host, port)
    except OSError as error:
        sys.exit(f"Cannot listen on {host}:{port}: {error.strerror}")

    # uvicorn raises the signal again once it has shut down; what is left to do then is to leave without a fuss.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    address, port = listener.getsockname()[:2]
    # "All addresses" is a place to listen, not one to call.
    reachable = "127.0.0.1" if ip_address(address).is_unspecified else host
    with Sandbox(f"http://{reachable}:{port}", settings.api_keys[0]) as sandbox:
        greeting = (
            f"Segmind sandbox on {sandbox.url} with key {sandbox.api_key}: "
            f"export AIRFLOW_CONN_KANDINSKY_DEFAULT='{sandbox.connection()}'\n"
        )

        def greet() -> None:
            sys.stdout.write(greeting)
            sys.stdout.flush()

        SandboxServer(settings, greet).run(sockets=[listener])


if __name__ == "__main__":
    main()
