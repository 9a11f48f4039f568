"""How long claims last. Apart from :mod:`~.results.claims`, because DAG files import it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


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
