"""What a batch leaves: a row for each item, counts, a manifest; and the error, if items have failed."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any, Final

from airflow.sdk import Context

from airflow_provider_kandinsky.batch.errors import BatchItemsFailedError
from airflow_provider_kandinsky.batch.items import by_position
from airflow_provider_kandinsky.batch.manifest import write_manifest
from airflow_provider_kandinsky.batch.state import BatchState
from airflow_provider_kandinsky.durable.records import Item
from airflow_provider_kandinsky.observability.lineage import Lineage
from airflow_provider_kandinsky.results.delivery import add_outlet_event_extra, error_for_xcom
from airflow_provider_kandinsky.results.file_names import location
from airflow_provider_kandinsky.results.output_path import OutputPath
from airflow_provider_kandinsky.segmind.errors import Billing, KandinskyError

log = logging.getLogger(__name__)

#: So many failed items are named in the error; all of them are in the result.
_MOST_NAMED: Final = 5


class BatchDelivery:
    """The end of a batch.

    :param state: what was wanted, and how far it has come.
    :param left_out: why the items that were not submitted were not.
    :param output_path: where images were stored and the manifest is written, if anywhere.
    :param with_reuse: whether rows say if their images were stored before.
    """

    def __init__(
        self,
        state: BatchState,
        left_out: KandinskyError | None,
        output_path: OutputPath | None,
        *,
        with_reuse: bool = False,
    ) -> None:
        self._with_reuse = with_reuse
        self._state = state
        self._left_out = left_out
        self._output_path = output_path
        self._manifest: str | None = None
        failures = by_position(state.items, self._failure)
        self._failures = {position: failure for position, failure in enumerate(failures) if failure is not None}
        #: One for each item that was asked for, in that order.
        self.rows = by_position(state.items, self._row)
        own_keys = {
            place: key for item in state.items for place, key in zip(item.positions, item.own_keys, strict=False)
        }
        if any(key is not None for key in own_keys.values()):
            self.rows = [{"key": own_keys.get(place)} | row for place, row in enumerate(self.rows)]
        self._orphans = [self._row(item) for item, _ in state.orphans()]

    @property
    def counts(self) -> dict[str, Any]:
        """How many items there are, and what they cost in dollars."""
        return {
            "items": len(self.rows),
            "succeeded": len(self.rows) - len(self._failures),
            "failed": len(self._failures),
            "reused": sum(len(item.positions) for item in self._state.items if self._is_reused(item)),
            "cost": self._state.cost(),
        }

    @property
    def concerns_account(self) -> bool:
        """Whether an item has failed for a reason that is not its own, but the account's."""
        return any(failure.concerns_account for failure in self._failures.values())

    def push(self, context: Context, max_xcom_items: int) -> list[dict[str, Any]] | None:
        """Push the counts and the manifest, and return what the task returns.

        :param max_xcom_items: with more items than this the rows are in the manifest alone.
        """
        ti, counts = context["ti"], self.counts
        reused = f" ({counts['reused']} reused)" if counts["reused"] else ""
        log.info(
            "%d of %d items are done%s, %d have failed; cost: $%g",
            counts["succeeded"],
            counts["items"],
            reused,
            counts["failed"],
            counts["cost"],
        )
        if self._failures:
            types = Counter(type(failure).__name__ for failure in self._failures.values())
            counted = ", ".join(f"{number} {name}" for name, number in types.most_common())
            log.warning("%d of %d items have failed: %s", counts["failed"], counts["items"], counted)
        if self._orphans:
            named = ", ".join(f"{row['request_id']}: {row['urls'] or row['error']}" for row in self._orphans)
            log.warning("Submitted for requests that have changed since, and in XCom orphans: %s", named)
            ti.xcom_push(key="orphans", value=self._orphans)
        if self._left_out is not None:
            self._state.count_skipped(self._left_out)
        ti.xcom_push(key="counts", value=counts)
        extra: dict[str, Any] = {"counts": counts, "cost": counts["cost"]}
        if self._output_path is not None:
            extra["manifest"] = self._manifest = self._write_manifest(context, self._output_path)
            log.info("Wrote the manifest to %s", self._manifest)
            ti.xcom_push(key="manifest", value=self._manifest)
        if len(self.rows) > max_xcom_items:
            add_outlet_event_extra(context, extra)
            return None
        rows = [row for row in self.rows if row["error"] is None]
        extra["request_ids"] = [row["request_id"] for row in rows]
        extra["uris"] = [url for row in rows for url in row["urls"]]
        add_outlet_event_extra(context, extra)
        return self.rows

    def lineage(self, model: str, *, with_rows: bool) -> Lineage:
        """What the batch has made.

        :param with_rows: whether to name each request and each image, or the manifest alone.
        """
        if not with_rows:
            return Lineage(model, self._state.cost(), [], [self._manifest] if self._manifest else [])
        rows = [(item, self._row(item)) for item in self._state.items]
        generations = [
            {name: row[name] for name in ("request_id", "seed", "cost")}
            | {"prompt": item.request.prompt, "error": row["error"] and row["error"]["type"]}
            | ({"reused": True} if row.get("reused") else {})
            for item, row in rows
        ]
        return Lineage(model, self._state.cost(), generations, [url for _, row in rows for url in row["urls"]])

    def failure(self) -> BatchItemsFailedError | None:
        """Why the task has failed, if any item has."""
        if not self._failures:
            return None
        counts = self.counts
        positions = sorted(self._failures)
        named = "; ".join(f"[{each}] {_describe_error(self._failures[each])}" for each in positions[:_MOST_NAMED])
        more = f"; and {len(positions) - _MOST_NAMED} more" if len(positions) > _MOST_NAMED else ""
        error = BatchItemsFailedError(
            f"{counts['failed']} of {counts['items']} items have failed, {counts['succeeded']} are done at a cost of "
            f"${counts['cost']:g}. {named}{more}",
            billing=Billing.YES if counts["cost"] else max(self._failures.values(), key=_certainty).billing,
        )
        curable = sum(each.retryable for each in self._failures.values())
        error.retryable = curable > 0
        if not self._state.are_kept:
            error.retry_hint = "A retry submits all items again, because no record is kept of them."
        elif curable:
            error.retry_hint = f"A retry goes on with the {curable} that it may cure, and submits nothing else."
        else:
            error.retry_hint = "No retry can cure this, so none is made."
        return error

    def _failure(self, item: Item) -> KandinskyError | None:
        record = self._state.record(item)
        return self._left_out if record is None else record.failure

    def _row(self, item: Item) -> dict[str, Any]:
        record, failure = self._state.record(item), self._failure(item)
        result = record.generation if record else None
        urls, uris = ([], []) if result is None or failure is not None else (result.urls, record and record.uris)
        row: dict[str, Any] = {"urls": urls}
        if self._output_path is not None:
            row = {"urls": uris, "locations": list(map(location, uris or ())), "source_urls": urls}
        if self._with_reuse:
            row["reused"] = self._is_reused(item)
        return row | {
            "request_id": record.request_id if record else None,
            "seed": result.seed if result else item.seed,
            "cost": result.cost if result else None,
            "error": failure and error_for_xcom(failure),
        }

    def _is_reused(self, item: Item) -> bool:
        record = self._state.record(item)
        return record is not None and record.reused

    def _write_manifest(self, context: Context, output_path: OutputPath) -> str:
        requests = by_position(self._state.items, lambda item: item.request)
        rows = zip(self.rows, requests, strict=True)
        return write_manifest(context, output_path, (row | {"arguments": each.payload()} for row, each in rows))


def _describe_error(error: KandinskyError) -> str:
    return f"{type(error).__name__}: {error}"


def _certainty(error: KandinskyError) -> int:
    """How sure it is that money was spent on what failed."""
    return ["no", "maybe", "yes"].index(error.billing)
