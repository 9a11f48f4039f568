"""What the service's request history tells of purchases that the ledger knows only half of: those whose answer was
lost, and those whose record has expired.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.segmind.errors import KandinskyError, ServiceUnavailableError, SubmissionUnknownError
from airflow_provider_kandinsky.segmind.history import PAGE_SIZE, PastRequest
from airflow_provider_kandinsky.segmind.schemas import IMAGE_LIFETIME, GenerationResult

log = logging.getLogger(__name__)

OnUnknownSubmit = Literal["fail", "resubmit"]
ON_UNKNOWN_SUBMIT: Final = ("fail", "resubmit")

#: How old an intent must be before its absence from the history means that it was never accepted, in seconds.
HISTORY_SETTLES: Final = 15.0
#: How far the service's clock may be behind this machine's, in seconds.
_CLOCK_SKEW: Final = 120.0
_MOST_PAGES: Final = 50


@dataclass(frozen=True, slots=True)
class Intent:
    """A purchase that was about to be made.

    :param payload: what was to be sent.
    :param intended_at: when, in seconds since the epoch.
    """

    payload: Mapping[str, Any]
    intended_at: float

    @property
    def earliest(self) -> float:
        """When it can have been accepted at the earliest, by the service's clock."""
        return self.intended_at - _CLOCK_SKEW

    def became(self, row: PastRequest) -> bool:
        """Whether a request of the history can be this one."""
        return row.asked_for(self.payload) and (row.created_at is None or row.created_at >= self.earliest)


class PastPurchases:
    """The request history, asked about purchases.

    :param hook: the service.
    :param model: the slug that they were made of.
    :param on_unknown_submit: what to do if the history cannot tell: ``"fail"`` or ``"resubmit"``, which may pay twice.
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
        self._on_unknown_submit = on_unknown_submit
        self._clock = clock
        self._sleep = sleep

    def look_for(self, intents: Sequence[Intent], known: Collection[str] = ()) -> list[PastRequest | None]:
        """What has become of some intents, as far as the history knows at the moment, by one scan for all.

        :param known: ids of other purchases, which are not to be taken for these.
        :return: one for each intent, in order; ``None`` is not there, or not there yet.
        :raises KandinskyError: the history cannot be asked.
        """
        if not intents:
            return []
        found: list[PastRequest | None] = [None] * len(intents)
        taken = set(known)
        for row in self._rows(min(intent.earliest for intent in intents)):
            matches = (place for place, intent in enumerate(intents) if found[place] is None and intent.became(row))
            if row.request_id not in taken and (place := next(matches, None)) is not None:
                taken.add(row.request_id)
                found[place] = row
                if None not in found:
                    break
        return found

    def settle(self, intents: Sequence[Intent], known: Collection[str] = ()) -> list[PastRequest | None]:
        """As :meth:`look_for`, but final: ``None`` may be bought, for it was never accepted, or it is to be risked.

        :raises SubmissionUnknownError: the history cannot tell, and nothing is to be risked.
        """
        try:
            found = self.look_for(intents, known)
            missing = [intent.intended_at for intent, row in zip(intents, found, strict=True) if row is None]
            unsettled = max(missing, default=0.0) + HISTORY_SETTLES - self._clock()
            if missing and unsettled > 0:
                # Not there yet is not the same as not there.
                self._sleep(unsettled)
                found = self.look_for(intents, known)
        except KandinskyError as error:
            if self._on_unknown_submit == "resubmit":
                log.warning("It is not known whether an earlier try was accepted (%s); submitting anew", error.message)
                return [None] * len(intents)
            unknown = SubmissionUnknownError(
                f"An earlier try may have submitted this, and the request history cannot tell: {error.message}. "
                'Set history_url in the connection, or on_unknown_submit="resubmit" to risk paying twice'
            )
            # Asking again later costs nothing.
            unknown.retryable = error.retryable
            raise unknown from error
        return found

    def find_expired(self, request_id: str, submitted_at: float, samples: int) -> GenerationResult | None:
        """The pictures of a job that the service has forgotten.

        :param submitted_at: seconds since the epoch; pictures older than a week are gone.
        :param samples: how many pictures it was to give.
        :return: ``None`` if there are none to be had, so that they would have to be bought again.
        :raises KandinskyError: there is a history, and it cannot be asked now.
        """
        past = self._ask_for_expired(request_id, submitted_at, samples)
        if past is None or not past.images or self._clock() - submitted_at > IMAGE_LIFETIME:
            log.warning(
                "Request %s has expired and there is no picture of it to be had: it has to be bought again", request_id
            )
            return None
        log.info("Request %s has expired; its %d picture(s) are in the history", request_id, len(past.images))
        return past.result()

    def _ask_for_expired(self, request_id: str, submitted_at: float, samples: int) -> PastRequest | None:
        client = self._hook.get_conn()
        if not client.has_history:
            return None
        try:
            past = client.get_past_request(request_id)
            if past is not None and samples > 1:
                # Asked for by its id, a request is one row; in the list it has a row for each picture.
                rows = self._rows(submitted_at - _CLOCK_SKEW)
                past = next((row for row in rows if row.request_id == request_id), past)
        except KandinskyError as error:
            if self._on_unknown_submit == "resubmit":
                log.warning("The request history could not be asked for request %s: %s", request_id, error)
                return None
            error.message = f"The request has expired, and the history that may have its picture says: {error.message}"
            error.request_id = request_id
            raise
        return past

    def _rows(self, since: float) -> Iterator[PastRequest]:
        """The requests since a moment, and some older ones; newest first.

        :raises ServiceUnavailableError: there is more history than can be looked through.
        """
        client = self._hook.get_conn()
        for page in range(1, _MOST_PAGES + 1):
            rows = client.get_history(self._model, since, page)
            yield from rows
            if not rows or all(row.created_at is not None and row.created_at < since for row in rows):
                return
        raise ServiceUnavailableError(f"The request history has more than {_MOST_PAGES * PAGE_SIZE} rows to look at")
