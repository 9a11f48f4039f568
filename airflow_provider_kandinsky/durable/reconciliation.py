"""Asks the service's request history what became of jobs: where the response to the submission was lost, and where the
service does not know the job any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from airflow_provider_kandinsky.durable.errors import CostLimitError
from airflow_provider_kandinsky.durable.history_rows import history_of, may_have_more
from airflow_provider_kandinsky.durable.matching import CLOCK_SKEW, ZONE_DOUBT, Intent, IntentIndex, Match
from airflow_provider_kandinsky.durable.policy import History, OnUnknownSubmit
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.segmind.errors import InvalidResponseError, KandinskyError, ServiceUnavailableError
from airflow_provider_kandinsky.segmind.schemas import JobStatus
from airflow_provider_kandinsky.segmind.wire.history import PAGE_SIZE, PastRequest

log = logging.getLogger(__name__)

_MAX_PAGES: Final = 50
#: Reading goes on for so many seconds: a page alone may take most of a minute.
_LONGEST_READING: Final = 300.0
#: After so many failed calls in a row, each with all the client's retries, the history is not asked about jobs for so
#: many seconds: a batch has many jobs, and one failure may be of one job alone.
_MAX_FAILURES: Final = 3
_ASK_AGAIN_AFTER: Final = 60.0


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
    :param on_unknown_submit: what is to be done if the history does not say: ``"fail"`` or ``"resubmit"``, which may
        pay twice.
    :param clock: wall clock, seconds since the epoch.
    :param sleep: how to wait for the history to catch up.
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
        return self._scan(intents, known_ids)

    def resolve(self, intents: Sequence[Intent], known_ids: Collection[str] = ()) -> list[Finding]:
        """As :meth:`find`, but final: what is absent was never accepted. May wait for the history to catch up."""
        findings = self.find(intents, known_ids)
        # What was intended was so before now, whatever a clock says that is ahead of this one.
        delay = max(
            (
                min(intent.final_at - self._clock(), intent.final_at - intent.intended_at)
                for intent, finding in zip(intents, findings, strict=True)
                if finding.history is History.ABSENT
            ),
            default=0.0,
        )
        if delay > 0:
            log.info("Waiting %.0f s for the request history to learn of what was submitted", delay)
            self._sleep(delay)
            findings = self.find(intents, known_ids)
        return findings

    def find_job(self, request_id: str, submitted_at: float, samples: int, most_samples: int | None = None) -> Finding:
        """What the history says of a job for which the service responds with 404.

        :param submitted_at: seconds since the epoch.
        :param samples: how many images it was to give.
        :param most_samples: how many it may have given, where that is not certain: all that there are are searched for.
        """
        client = self._hook.get_conn()
        if not client.has_history:
            return Finding(History.NOT_CONFIGURED)
        if self._clock() < self._ask_again_at:
            return Finding(History.UNREACHABLE, error=self._last_error)
        try:
            row = client.get_past_request(request_id)
            if row is not None and row.request_id != request_id:
                raise InvalidResponseError("The request history returned another request than was asked for")
            row = row or self._in_list(request_id, submitted_at)
            if row is not None and may_have_more(row, most_samples or samples):
                # Asked for by its id, a request may be one row; in the list it has a row for each image, and it has
                # failed if all of them have.
                row = self._with_all_images(row, submitted_at, most_samples or samples)
        except KandinskyError as error:
            self._failures, self._last_error = self._failures + 1, error
            if self._failures >= _MAX_FAILURES:
                self._ask_again_at = self._clock() + _ASK_AGAIN_AFTER
            return Finding(History.UNREACHABLE, error=error)
        self._failures = 0
        if row is None:
            return Finding(History.ABSENT)
        return Finding(history_of(row, samples), row)

    def check_cost(self, request_ids: Collection[str], max_cost: float) -> None:
        """Check what jobs have cost, as far as the history says.

        :param max_cost: dollars.
        :raises CostLimitError: they have cost that.
        :raises ConfigurationError: there is no history.
        :raises KandinskyError: it cannot be asked.
        """
        rows = map(self._hook.get_conn().get_past_request, request_ids)
        cost = round(sum(row.cost or 0.0 for row in rows if row is not None), 6)
        if cost >= max_cost:
            raise CostLimitError(
                f"It was not submitted again, because the costs so far, ${cost:g}, have reached {max_cost=!r}"
            )

    def _in_list(self, request_id: str, submitted_at: float) -> PastRequest | None:
        """A request that is not found by its id, if it is on the first page of its days. A wrong URL also responds with
        404, and so does a job of a team-mate's key; that there is a list says more."""
        since, until = submitted_at - ZONE_DOUBT, submitted_at + ZONE_DOUBT
        rows = self._hook.get_conn().get_history(self._model, since, until=until)
        return next((row for row in rows if row.request_id == request_id), None)

    def _scan(self, intents: Sequence[Intent], known_ids: Collection[str]) -> list[Finding]:
        found: list[PastRequest | None] = [None] * len(intents)
        doubtful = [False] * len(intents)
        taken = set(known_ids)
        index = IntentIndex(intents)
        first, last = min(each.earliest for each in intents), max(each.latest for each in intents)
        images = sum(each.payload.get("samples") or 1 for each in intents)  # each may be a row of its own
        failure: KandinskyError | None = None
        try:
            for row in self._rows(first - ZONE_DOUBT, last + ZONE_DOUBT, max_pages=_MAX_PAGES + images // PAGE_SIZE):
                if row.request_id in taken:
                    continue
                matches = {place: self._match(intents[place], row) for place in index.places(row)}
                # One that failed is not billed; another row may be what was accepted after it.
                places = [
                    place
                    for place, match in matches.items()
                    if match is Match.YES and ((known := found[place]) is None or known.status is JobStatus.FAILED)
                ]
                if places:
                    taken.add(row.request_id)
                    place = next((each for each in places if found[each] is None), places[0])
                    found[place] = row
                    if all(each is not None and each.status is not JobStatus.FAILED for each in found):
                        break
                else:
                    for place, match in matches.items():
                        doubtful[place] = doubtful[place] or match is Match.DOUBTFUL
        except KandinskyError as error:
            failure = error  # what was found before holds
        return [self._finding(row, is_doubtful, failure) for row, is_doubtful in zip(found, doubtful, strict=True)]

    def _match(self, intent: Intent, row: PastRequest) -> Match:
        """The history's filter finds parts of names, too. But in which form it has names is not certain enough to say
        that a row of another one is another request."""
        match = intent.match(row)
        is_of_another_model = row.model not in ("", self._model)
        return Match.DOUBTFUL if match is Match.YES and is_of_another_model else match

    @staticmethod
    def _finding(row: PastRequest | None, is_doubtful: bool, error: KandinskyError | None) -> Finding:
        if error is not None and (row is None or row.status is JobStatus.FAILED):
            return Finding(History.UNREACHABLE, error=error)
        if row is not None and not (row.status is JobStatus.FAILED and is_doubtful):
            return Finding(history_of(row, 0), row)
        return Finding(History.DOUBTFUL if is_doubtful else History.ABSENT)

    def _with_all_images(self, row: PastRequest, submitted_at: float, samples: int) -> PastRequest:
        """A request with the images of all its rows, as far as they are among those of its days.

        :raises KandinskyError: the row has failed, and it cannot be read whether all have.
        """
        moment = submitted_at if row.created_at is None else row.created_at
        doubt = CLOCK_SKEW + max(row.created_at_doubt, ZONE_DOUBT if row.created_at is None else 0.0)
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

    def _rows(self, since: float, until: float, *, max_pages: int = _MAX_PAGES) -> Iterator[PastRequest]:
        """The requests between two moments, and some more; newest first.

        :raises ServiceUnavailableError: there is more history than is read, or it takes too long.
        """
        client, end = self._hook.get_conn(), self._clock() + _LONGEST_READING
        for page in range(1, max_pages + 1):
            rows = client.get_history(self._model, since, page, until=until)
            yield from rows
            if all(row.is_before(since) for row in rows):
                return
            if self._clock() > end:
                break
        raise ServiceUnavailableError(
            f"The request history has more than {max_pages * PAGE_SIZE} rows in the days to be read, or takes more "
            f"than {_LONGEST_READING:.0f} s to read"
        )
