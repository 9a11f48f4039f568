"""The items of a batch whose images are stored already, or are about to be made by another task."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from airflow_provider_kandinsky.batch.outcomes import Stored
from airflow_provider_kandinsky.batch.state import BatchState
from airflow_provider_kandinsky.durable.ledger import argument_hashes
from airflow_provider_kandinsky.durable.records import Item, JobRecord
from airflow_provider_kandinsky.results.reuse import ReuseIndex
from airflow_provider_kandinsky.segmind.errors import Billing

log = logging.getLogger(__name__)


class BatchReuse:
    """Delivers stored images again, and has each image made by one task only.

    :param state: what is wanted, and how far it has come.
    :param index: of the images that are stored.
    :param model: the slug.
    """

    def __init__(self, state: BatchState, index: ReuseIndex, model: str) -> None:
        self._state = state
        self._index = index
        self._template = index.output_path.template
        self._model = model
        #: For how many seconds others have claimed what is still wanted, by fingerprint.
        self.claimed: dict[str, float] = {}

    def find_stored(self) -> None:
        """Note all that is stored. The caller writes it, but not before the history was asked for what is not recorded:
        a ledger that was begun no longer says that there was none.

        :raises ReuseIndexError: it is not known what is there. Nothing was submitted.
        """
        wanted = [item for item in self._state.wanted if _is_reusable(item)]
        stored = self._index.find([item.key for item in wanted])
        for item in wanted:
            if item.key in stored:
                self._state.note_reused(item, stored[item.key], self._template)
        if wanted:
            log.info("The images of %d of %d requests are stored, and are reused", len(stored), len(wanted))

    def admit(self, group: Sequence[Item]) -> list[Item]:
        """Claim what is about to be submitted.

        :return: what is this task's to submit.
        :raises ReuseIndexError: it is not known what is there. Nothing was submitted.
        """
        reusable = {item.key: item for item in group if _is_reusable(item)}
        stored, claimed = self._index.find_or_claim(list(reusable))
        for key, request in stored.items():
            self._state.note_reused(reusable[key], request, self._template)
        self.claimed = {key: left for key, left in self.claimed.items() if key not in reusable} | claimed
        return [item for item in group if item.key not in stored and item.key not in claimed]

    def note_stored(self, stored: Sequence[Stored]) -> None:
        """Index what was submitted and stored."""
        self._index.note(
            {
                item.key: (
                    result,
                    uris,
                    {"arguments": argument_hashes(self._model, item.request.payload())}
                    | ({"key": item.own_key} if item.own_key is not None else {}),
                )
                for item, result, uris in stored
                if _is_reusable(item) and item.positions
            }
        )

    def pack(self) -> None:
        """Have a later run find what is stored with few calls; see :meth:`~.results.reuse.ReuseIndex.pack`."""
        self._index.pack([item.key for item in self._state.items if _is_reusable(item)])

    def release(self, items: Iterable[Item]) -> None:
        """Let others submit what was not accepted, or has failed and was not billed."""
        over = [item.key for item in items if _is_reusable(item) and _is_free(self._state.record(item))]
        self._index.release(over)


def _is_reusable(item: Item) -> bool:
    return item.request.seed != -1


def _is_free(record: JobRecord | None) -> bool:
    """Whether nothing is in flight, and nothing was paid."""
    if record is None:
        return True
    failure = record.failure
    return failure is not None and failure.billing is Billing.NO
