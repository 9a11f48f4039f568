"""The service's request history, asked what became of jobs: those whose submission lost its answer, and those that the
service does not know any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

from airflow_provider_kandinsky.durable.policy import History, OnUnknownSubmit
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.segmind.errors import InvalidResponseError, KandinskyError, ServiceUnavailableError
from airflow_provider_kandinsky.segmind.schemas import JobStatus
from airflow_provider_kandinsky.segmind.wire.history import PAGE_SIZE, PastRequest

log = logging.getLogger(__name__)

#: How long after a POST has left its absence from the history means that it was never accepted, in seconds.
HISTORY_SETTLES: Final = 15.0
#: How far the service's clock may be behind this machine's, in seconds.
_CLOCK_SKEW: Final = 120.0
#: How long after its submission the history may say that a request was made, in seconds: it may count from its start.
_LATEST: Final = 3600.0
#: A local time that is read as UTC is wrong by so many seconds at most.
_ZONE_DOUBT: Final = 14 * 3600.0
_MAX_PAGES: Final = 50
#: Reading goes on for so many seconds: a page alone may take most of a minute.
_LONGEST_READING: Final = 300.0
#: After so many questions in a row that it did not answer, each of them for all the client's patience, the history is
#: not asked about jobs for so many seconds: a batch has many, and the first who is refused may be one alone.
_MAX_FAILURES: Final = 3
_ASK_AGAIN_AFTER: Final = 60.0


class Match(Enum):
    """Whether a row of the history is a submission."""

    NO = "no"
    DOUBTFUL = "perhaps"
    YES = "yes"


@dataclass(frozen=True, slots=True)
class Intent:
    """A submission that was about to be made.

    :param payload: what was to be sent.
    :param intended_at: when, in seconds since the epoch.
    :param send_by: by when the POST had left, or never will, in seconds since the epoch.
    :param sent_at: when it had last left, where that is known.
    :param has_own_seed: whether no other task sends this payload, as its seed is made from the task's own name.
    """

    payload: Mapping[str, Any]
    intended_at: float
    send_by: float
    sent_at: float | None = None
    has_own_seed: bool = False

    @property
    def settled_at(self) -> float:
        """From when on its absence from the history means that it was never accepted."""
        return (self.send_by if self.sent_at is None else self.sent_at) + HISTORY_SETTLES

    @property
    def earliest(self) -> float:
        """When it can have been accepted at the earliest, by the service's clock."""
        return self.intended_at - _CLOCK_SKEW

    @property
    def latest(self) -> float:
        """What the history may give as its time at the latest."""
        return (self.send_by if self.sent_at is None else self.sent_at) + _CLOCK_SKEW + _LATEST

    def match(self, row: PastRequest) -> Match:
        """Compare it with a row.

        A row at an unlikely time is doubtful: the history may give local times, or days alone. One that is further
        away than any time zone explains is another request. So is one with other inputs; but where they are not told,
        or the task's own seed is among them, they may be this one's in another form.
        """
        if row.matches_payload(self.payload):
            likely = Match.YES
        elif not row.payload or (self.has_own_seed and row.matches_payload({"seed": self.payload["seed"]})):
            likely = Match.DOUBTFUL
        else:
            return Match.NO
        if not row.request_id:
            return Match.DOUBTFUL
        if self.has_own_seed and likely is Match.YES:
            return Match.YES
        if row.created_at is None:
            return Match.DOUBTFUL if self.payload.get("seed") == -1 else likely
        distance = max(self.earliest - row.created_at, row.created_at - self.latest, 0.0)
        if distance == 0.0:
            return likely
        return Match.DOUBTFUL if distance <= max(_ZONE_DOUBT, row.created_at_doubt) else Match.NO


@dataclass(frozen=True, slots=True)
class Finding:
    """What the history says of one request.

    :param row: the request, where it is there.
    :param error: why the history cannot be asked.
    """

    history: History
    row: PastRequest | None = None
    error: KandinskyError | None = None


class HistoryReconciler:
    """Asks the request history about submissions.

    :param hook: the service.
    :param model: the slug that they were made to.
    :param on_unknown_submit: what is to be done if the history cannot tell: ``"fail"`` or ``"resubmit"``, which may
        pay twice.
    :param clock: wall clock, seconds since the epoch.
    :param sleep: how to wait for the history to settle.
    """

    def __init__(
        self,
        hook: KandinskyHook,
        model: str,
        on_unknown_submit: OnUnknownSubmit = "fail",
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._hook = hook
        self._model = model
        self.on_unknown_submit = on_unknown_submit
        self._clock = clock
        self._sleep = sleep
        self._failures = 0
        self._ask_again_at = 0.0
        self._last_error: KandinskyError | None = None

    def find(self, intents: Sequence[Intent], known_ids: Collection[str] = ()) -> list[Finding]:
        """What has become of submissions, as far as the history knows now, by one scan for all.

        :param known_ids: ids of other submissions, which are not to be taken for these.
        :return: one for each intent, in order; :attr:`~.policy.History.ABSENT` may be not there yet.
        """
        if not self._hook.get_conn().has_history:
            return [Finding(History.NOT_CONFIGURED)] * len(intents)
        try:
            return self._scan(intents, known_ids)
        except KandinskyError as error:
            return [Finding(History.UNREACHABLE, error=error)] * len(intents)

    def resolve(self, intents: Sequence[Intent], known_ids: Collection[str] = ()) -> list[Finding]:
        """As :meth:`find`, but final: what is absent was never accepted. May wait for the history to settle."""
        findings = self.find(intents, known_ids)
        # What was intended was so before now, whatever a clock says that is ahead of this one.
        unsettled = max(
            (
                min(intent.settled_at - self._clock(), intent.settled_at - intent.intended_at)
                for intent, finding in zip(intents, findings, strict=True)
                if finding.history is History.ABSENT
            ),
            default=0.0,
        )
        if unsettled > 0:
            log.info("Waiting %.0f s for the request history to learn of what was submitted", unsettled)
            self._sleep(unsettled)
            findings = self.find(intents, known_ids)
        return findings

    def find_job(self, request_id: str, submitted_at: float, samples: int) -> Finding:
        """What the history says of a job that the service answers with 404.

        :param submitted_at: seconds since the epoch.
        :param samples: how many images it was to give.
        """
        client = self._hook.get_conn()
        if not client.has_history:
            return Finding(History.NOT_CONFIGURED)
        if self._clock() < self._ask_again_at:
            return Finding(History.UNREACHABLE, error=self._last_error)
        try:
            row = client.get_past_request(request_id)
            if row is not None and row.request_id != request_id:
                raise InvalidResponseError("The request history answers with another request than was asked for")
            row = row or self._in_list(request_id, submitted_at)
            if row is not None and _may_have_more(row, samples):
                # Asked for by its id, a request may be one row; in the list it has a row for each image, and it has
                # failed if all of them have.
                row = self._with_all_images(row, submitted_at, samples)
        except KandinskyError as error:
            self._failures, self._last_error = self._failures + 1, error
            if self._failures >= _MAX_FAILURES:
                self._ask_again_at = self._clock() + _ASK_AGAIN_AFTER
            return Finding(History.UNREACHABLE, error=error)
        self._failures = 0
        if row is None:
            return Finding(History.ABSENT)
        return Finding(_word(row, samples), row)

    def _in_list(self, request_id: str, submitted_at: float) -> PastRequest | None:
        """A request that is not found by its id, if it is on the first page of its days. A 404 is also the answer of a
        wrong URL, and to what a team-mate's key has submitted; that there is a list says more."""
        since, until = submitted_at - _ZONE_DOUBT, submitted_at + _ZONE_DOUBT
        rows = self._hook.get_conn().get_history(self._model, since, until=until)
        return next((row for row in rows if row.request_id == request_id), None)

    def _scan(self, intents: Sequence[Intent], known_ids: Collection[str]) -> list[Finding]:
        found: list[PastRequest | None] = [None] * len(intents)
        doubtful = [False] * len(intents)
        taken = set(known_ids)
        first, last = min(each.earliest for each in intents), max(each.latest for each in intents)
        for row in self._rows(first - _ZONE_DOUBT, last + _ZONE_DOUBT):
            if row.request_id in taken:
                continue
            matches = [intent.match(row) for intent in intents]
            # One that failed is not billed; another row may be what was accepted after it.
            places = [
                place
                for place, match in enumerate(matches)
                if match is Match.YES and ((known := found[place]) is None or known.status is JobStatus.FAILED)
            ]
            if places:
                taken.add(row.request_id)
                place = next((each for each in places if found[each] is None), places[0])
                found[place] = row
                if all(each is not None and each.status is not JobStatus.FAILED for each in found):
                    break
            else:
                doubtful = [was or match is Match.DOUBTFUL for was, match in zip(doubtful, matches, strict=True)]
        return [self._finding(row, is_doubtful) for row, is_doubtful in zip(found, doubtful, strict=True)]

    @staticmethod
    def _finding(row: PastRequest | None, is_doubtful: bool) -> Finding:
        if row is not None and not (row.status is JobStatus.FAILED and is_doubtful):
            return Finding(_word(row, 0), row)
        return Finding(History.DOUBTFUL if is_doubtful else History.ABSENT)

    def _with_all_images(self, row: PastRequest, submitted_at: float, samples: int) -> PastRequest:
        """A request with the images of all its rows, as far as they are among those of its days.

        :raises KandinskyError: the row has failed, and it cannot be read whether all have.
        """
        moment = submitted_at if row.created_at is None else row.created_at
        doubt = _CLOCK_SKEW + max(row.created_at_doubt, _ZONE_DOUBT if row.created_at is None else 0.0)
        try:
            for other in self._rows(moment - doubt, moment + doubt):
                if other.request_id == row.request_id:
                    images = tuple(dict.fromkeys((*row.images, *other.images)))
                    status = other.status if row.status is JobStatus.FAILED else row.status
                    row = replace(row, images=images, status=status)
                    if len(row.images) >= samples:
                        break
        except KandinskyError as error:
            if row.status is JobStatus.FAILED:
                raise  # that one image has failed does not say that the job has
            log.warning("Not all rows of request %s could be read from the history: %s", row.request_id, error)
        return row

    def _rows(self, since: float, until: float) -> Iterator[PastRequest]:
        """The requests between two moments, and some more; newest first.

        :raises ServiceUnavailableError: there is more history than is read, or it takes too long.
        """
        client, end = self._hook.get_conn(), self._clock() + _LONGEST_READING
        for page in range(1, _MAX_PAGES + 1):
            rows = client.get_history(self._model, since, page, until=until)
            yield from rows
            if not rows or all(
                row.created_at is not None and row.created_at + row.created_at_doubt < since for row in rows
            ):
                return
            if self._clock() > end:
                break
        raise ServiceUnavailableError(
            f"The request history has more than {_MAX_PAGES * PAGE_SIZE} rows in the days to be read, or takes more "
            f"than {_LONGEST_READING:.0f} s to read"
        )


def _may_have_more(row: PastRequest, samples: int) -> bool:
    if row.status is JobStatus.FAILED:
        return samples > 1
    return row.status is JobStatus.COMPLETED and len(row.images) < samples


def _word(row: PastRequest, samples: int) -> History:
    if row.status is JobStatus.FAILED:
        return History.FAILED
    if row.status is not JobStatus.COMPLETED:
        return History.PENDING
    if not row.images:
        return History.EMPTY
    return History.INCOMPLETE if len(row.images) < samples else History.COMPLETED
