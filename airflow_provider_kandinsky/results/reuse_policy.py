"""What ``reuse`` needs, and how long its claims last. DAG files import this, and not :mod:`~.results.reuse`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from airflow_provider_kandinsky.segmind.errors import BadRequestError


@dataclass(frozen=True, slots=True)
class ClaimPolicy:
    """How long claims last. All values are in seconds.

    :param margin: by how much a claim outlasts the task's ``timeout``: for the submission, and to store the images.
    :param unreadable: how long a claim counts that cannot be read: it may be about to be written.
    :param interval: how often a task that waits asks again.
    """

    margin: float = 900.0
    unreadable: float = 60.0
    interval: float = 15.0


DEFAULT_CLAIM_POLICY: Final = ClaimPolicy()


def check_reuse(reuse: bool, output_path: str | None) -> None:
    """Check that there is a place for what is to be reused.

    :raises BadRequestError: there is none.
    """
    if reuse and not output_path:
        raise BadRequestError(
            "reuse=True needs an output_path: the images are delivered again from there. Nothing was submitted."
        )
