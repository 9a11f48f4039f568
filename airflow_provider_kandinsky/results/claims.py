"""Claims: of several tasks that want the same image, one submits it and the others wait.

A claim is a file that only one can create. It has a bound, after which another takes it over, because its owner may
have died. The one who takes over creates the file with the next number, so that of several only one does; a claim
counts if all of the lower numbers are there and are over.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Final

from airflow.sdk import ObjectStoragePath

from airflow_provider_kandinsky.results.reuse_policy import DEFAULT_CLAIM_POLICY, ClaimPolicy
from airflow_provider_kandinsky.results.storage import WITHOUT_FOLDERS
from airflow_provider_kandinsky.segmind.constants import RECORD_LIFETIME
from airflow_provider_kandinsky.segmind.wire.values import number_in

log = logging.getLogger(__name__)

#: How long a claim may last, in seconds, whatever is written in it.
MAX_DURATION: Final = 2 * RECORD_LIFETIME


@dataclass(frozen=True, slots=True)
class _Claim:
    owner: str
    until: float


class Claims:
    """The claims of one task instance.

    :param owner: names the task instance, the same in all of its tries.
    :param duration: how long a claim lasts, in seconds.
    :param policy: the rest.
    :param clock: wall clock, seconds since the epoch.
    """

    def __init__(
        self,
        owner: str,
        duration: float,
        policy: ClaimPolicy = DEFAULT_CLAIM_POLICY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._owner = owner
        self._duration = min(duration + policy.margin, MAX_DURATION)
        self._policy = policy
        self._clock = clock

    def take(self, entry: ObjectStoragePath) -> float | None:
        """Claim what an index entry is for.

        :param entry: the path of the entry.
        :return: ``None`` if it is this task's now; else for how many seconds another's still lasts.
        """
        over: list[tuple[ObjectStoragePath, _Claim]] = []
        for number in count(1):
            path, now = _path(entry, number), self._clock()
            if _create(path, self._text(now)):
                if all(self._read(lower) == seen for lower, seen in over):
                    if over:
                        log.warning(
                            "Another task had claimed %s, and has not stored the images in its time; submitting in its "
                            "place. If it has died after its submission, that is paid twice",
                            entry,
                        )
                    return None
                _remove(path)  # others have come to an end meanwhile, and begun again
                return 0.0
            claim = self._read(path)
            if claim is None:
                return 0.0  # it was released just now
            if claim.until > now:
                if claim.owner != self._owner:
                    return claim.until - now
                with path.open("wb") as target:  # type: ignore[no-untyped-call]  # Airflow's is not typed
                    target.write(self._text(now))
                return None
            over.append((path, claim))
        raise AssertionError("count() has no end")

    def release(self, entry: ObjectStoragePath) -> None:
        """Let others have it. A claim that is over may be another's by now, and is left."""
        paths: list[ObjectStoragePath] = []
        for number in count(1):
            path = _path(entry, number)
            if (claim := self._read(path)) is None:
                return
            paths.append(path)
            if claim.owner == self._owner and claim.until > self._clock():
                # The lowest first: who creates it again is then the only one to have a claim.
                for each in paths:
                    _remove(each)
                return

    def _text(self, now: float) -> bytes:
        return json.dumps({"owner": self._owner, "claimed_at": now, "lasts": self._duration}).encode()

    def _read(self, path: ObjectStoragePath) -> _Claim | None:
        """Read a claim, which is text from elsewhere; ``None`` if it is not there."""
        try:
            content = path.fs.cat_file(path.path)
        except FileNotFoundError:
            return None
        try:
            value = json.loads(content)
            owner, claimed_at, lasts = value["owner"], number_in(value["claimed_at"]), number_in(value["lasts"])
        except (ValueError, TypeError, LookupError, RecursionError):
            owner, claimed_at, lasts = "", None, None
        now = self._clock()
        if not isinstance(owner, str) or claimed_at is None or lasts is None or claimed_at > now + MAX_DURATION:
            try:
                claimed_at, lasts = path.fs.modified(path.path).timestamp(), self._policy.unreadable
            except FileNotFoundError:
                return None
            owner = ""
        return _Claim(owner, min(claimed_at, now) + min(lasts, MAX_DURATION))


def _path(entry: ObjectStoragePath, number: int) -> ObjectStoragePath:
    return entry.parent / f"{entry.stem}.claim{number}"


def _create(path: ObjectStoragePath, content: bytes) -> bool:
    """Create a file unless it is there. Exclusive on local files and on S3; elsewhere as the storage can."""
    try:
        if path.protocol in WITHOUT_FOLDERS:
            path.fs.pipe_file(path.path, content, mode="create")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.fs.open(path.path, "xb") as target:
                target.write(content)
    except FileExistsError:
        return False
    except OSError:
        # S3 has words of its own for two that create a file at the same moment.
        if path.exists():
            return False
        raise
    return True


def _remove(path: ObjectStoragePath) -> None:
    with suppress(FileNotFoundError):
        path.fs.rm_file(path.path)
