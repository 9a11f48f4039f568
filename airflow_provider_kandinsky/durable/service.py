"""The service as the engine talks to it: one connection, one model, one event loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from airflow.sdk import Context

from airflow_provider_kandinsky.compat.task_runner import TimeoutAwareRunner
from airflow_provider_kandinsky.durable.budget import DailyBudget
from airflow_provider_kandinsky.durable.policy import OnUnknownSubmit
from airflow_provider_kandinsky.durable.reconciliation import HistoryReconciler
from airflow_provider_kandinsky.durable.stores import LedgerStore, ledger_path_of, ledger_store_for
from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook
from airflow_provider_kandinsky.segmind.waiting.poller import DEFAULT_POLL_POLICY, PollPolicy


@dataclass(frozen=True, slots=True)
class Service:
    """What a process of a task talks to.

    :param hook: the connection.
    :param runner: the event loop that the hook's async client lives in. The ledger is never written from inside it.
    :param model: the slug.
    :param history: the request history.
    :param budget: what may be spent today.
    :param durable: whether to keep a ledger of what is submitted.
    :param clock: wall clock, seconds since the epoch.
    """

    hook: KandinskyHook
    runner: TimeoutAwareRunner
    model: str
    history: HistoryReconciler
    budget: DailyBudget
    durable: bool = True
    clock: Callable[[], float] = time.time

    def ledger_store(self, context: Context) -> LedgerStore | None:
        """Where the running task instance keeps its ledger, as the connection or Airflow's configuration says."""
        return ledger_store_for(context, durable=self.durable, ledger_path=ledger_path_of(self.hook.settings))


@contextmanager
def open_service(
    conn_id: str,
    model: str,
    on_unknown_submit: OnUnknownSubmit = "fail",
    poll_policy: PollPolicy = DEFAULT_POLL_POLICY,
    *,
    durable: bool = True,
) -> Iterator[Service]:
    """Open a connection, and close it at the end.

    :param model: the slug.
    :param on_unknown_submit: see :class:`~.durable.reconciliation.HistoryReconciler`.
    :param poll_policy: how jobs are polled.
    :param durable: whether to keep a ledger of what is submitted.
    """
    with KandinskyHook(conn_id, poll_policy=poll_policy) as hook, TimeoutAwareRunner() as runner:
        history, budget = HistoryReconciler(hook, model, on_unknown_submit), DailyBudget(hook, model)
        try:
            yield Service(hook, runner, model, history, budget, durable)
        finally:
            runner.run(hook.__aexit__())
