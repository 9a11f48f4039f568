"""What is wanted, and what the ledger knows of it: for one image and for thousands the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any, Final

from airflow_provider_kandinsky.compat.stored_values import from_stored
from airflow_provider_kandinsky.segmind.constants import RECORD_LIFETIME
from airflow_provider_kandinsky.segmind.errors import KandinskyError, error_from_dict
from airflow_provider_kandinsky.segmind.request import TextToImageRequest
from airflow_provider_kandinsky.segmind.schemas import GenerationResult, parse_request_id
from airflow_provider_kandinsky.segmind.wire.values import number_in

#: So many ids of earlier submissions are kept; the history is asked about the days around a submission only.
_MAX_EARLIER_IDS: Final = 50


@dataclass(frozen=True, slots=True)
class Item:
    """One generation that a task wants.

    :param key: names it: its fingerprint, numbered where several of the same are wanted.
    :param request: what to submit.
    :param positions: where in a batch its result belongs; several where rows are the same image.
    :param own_keys: the names that the user has for its rows, in the order of ``positions``.
    :param has_own_seed: whether its seed is made from the task's name, so that no other task sends its payload.
    """

    key: str
    request: TextToImageRequest
    positions: tuple[int, ...] = (0,)
    has_own_seed: bool = False
    own_keys: tuple[str | None, ...] = ()

    @property
    def own_key(self) -> str | None:
        """The first of the names that the user has for it."""
        return next((key for key in self.own_keys if key is not None), None)

    @property
    def seed(self) -> int | None:
        """The seed that is sent; ``None`` if the service draws one."""
        return None if self.request.seed == -1 else self.request.seed

    @property
    def samples(self) -> int:
        """How many images it gives."""
        return self.request.samples or 1


@dataclass(frozen=True, slots=True)
class JobRecord:
    """How far one generation has come.

    :param key: which one; see :class:`Item`.
    :param try_number: the try that submitted it, or that gave it up; 0 if all that is known is that it was an earlier
        one.
    :param max_tries: the task instance's at that time; a user's clear raises it, a retry does not.
    :param intended_at: when it was about to be submitted, seconds since the epoch.
    :param request_id: the job, once the service had accepted it.
    :param submitted_at: when it had, seconds since the epoch.
    :param result: what it gave; see :meth:`~.segmind.schemas.GenerationResult.to_dict`.
    :param uris: where its images were stored.
    :param output_path: the template that they were stored by.
    :param error: why there is nothing more of it; see :meth:`~.segmind.errors.KandinskyError.to_dict`.
    :param send_by: by when its POST had left, or never will, seconds since the epoch.
    :param sent_at: when its POST had last left, if the response was lost.
    :param earlier_ids: jobs that were submitted for it before, and which are not to be taken for this one.
    :param earlier_cost: dollars, what those have cost as far as the service has said.
    :param not_found: whether a wait for the job has ended because the service knew nothing of it any more.
    :param presumed: whether nothing says that it was about to be submitted; see :class:`~.unrecorded.Unrecorded`.
    :param arguments: a hash of each argument, to say which of them changed; of a single generation only.
    :param reused: whether its images were stored before, and nothing was submitted. ``request_id`` is who made them.
    """

    key: str
    try_number: int
    max_tries: int
    intended_at: float = 0.0
    request_id: str | None = None
    submitted_at: float = 0.0
    result: Mapping[str, Any] | None = None
    uris: list[str] | None = None
    output_path: str | None = None
    error: Mapping[str, Any] | None = None
    send_by: float | None = None
    sent_at: float | None = None
    earlier_ids: Sequence[str] = ()
    earlier_cost: float | None = None
    not_found: bool = False
    presumed: bool = False
    arguments: Mapping[str, str] = field(default_factory=dict)
    reused: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it is still to be submitted: only what was submitted for it before is worth keeping."""
        return self.intended_at == 0.0 and self.error is None and self.request_id is None

    @property
    def is_unresolved(self) -> bool:
        """Whether it was about to be submitted, and it is not known what became of that."""
        return self.error is None and self.request_id is None

    @property
    def is_in_flight(self) -> bool:
        """Whether it was submitted, and nothing is known of what it gave."""
        return self.error is None and self.request_id is not None and self.result is None

    @property
    def known_ids(self) -> list[str]:
        """All jobs that were submitted for it, the latest last, as many as are kept."""
        ids = dict.fromkeys([*self.earlier_ids, *([self.request_id] if self.request_id else [])])
        return list(ids)[-_MAX_EARLIER_IDS:]

    @property
    def cost(self) -> float:
        """Dollars, for all jobs that were submitted for it, as far as the service has said."""
        return (self.earlier_cost or 0.0) + (number_in((self.result or {}).get("cost")) or 0.0)

    @property
    def failure(self) -> KandinskyError | None:
        """Why there is nothing more of it."""
        return None if self.error is None else error_from_dict(dict(self.error))

    @property
    def generation(self) -> GenerationResult | None:
        """What it gave, where that is known."""
        return None if self.result is None else GenerationResult.from_dict(self.result)

    def changed(self, arguments: Mapping[str, str]) -> list[str]:
        """The names of the arguments that are not what they were."""
        return sorted(name for name in {*self.arguments, *arguments} if self.arguments.get(name) != arguments.get(name))


def deadline_of(submitted_at: float, began_at: float, timeout: float) -> float:
    """Until when a try waits for a job, in seconds since the epoch.

    A try that re-attaches waits as long as the first one, but not for what the service has forgotten. It counts from
    its own beginning, as it may wait several times.

    :param submitted_at: when the job was submitted, seconds since the epoch.
    :param began_at: when the try began, seconds since the epoch.
    :param timeout: the task's, in seconds.
    """
    return min(max(began_at, submitted_at) + timeout, submitted_at + RECORD_LIFETIME)


def read_job_record(record: Mapping[str, Any]) -> JobRecord:
    """Read a record that was kept, perhaps where others can write.

    :raises TypeError: it is no such record, or a field of it cannot be. It is not known then what was submitted.
    """
    read = from_stored(JobRecord, record)
    times = (read.intended_at, read.submitted_at, *(each for each in (read.send_by, read.sent_at) if each is not None))
    ids = [*read.earlier_ids, *([] if read.request_id is None else [read.request_id])]
    if not (
        isinstance(read.key, str)
        and all(type(each) is int for each in (read.try_number, read.max_tries))
        and all(type(each) in (int, float) and isfinite(each) for each in times)
        and all(isinstance(each, str) and each == parse_request_id(each) for each in ids)
        and all(each is None or isinstance(each, Mapping) for each in (read.result, read.error, read.arguments))
        and (read.uris is None or all(isinstance(each, str) for each in read.uris))
    ):
        raise TypeError("not a record of a submission")
    return read


def to_record(record: JobRecord) -> dict[str, Any]:
    """Plain values, without the fields that have nothing to say."""
    return {
        each.name: value
        for each in fields(record)
        if (value := getattr(record, each.name)) is not None and value is not False and value not in ("", (), [], {})
    }
