"""What the operators have in common. DAG files import this: what only a running task needs is imported by that."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Final, Literal

from airflow.sdk import Context

from airflow_provider_kandinsky.compat.airflow import TaskDeferralError, TaskDeferralTimeout
from airflow_provider_kandinsky.durable.policy import OnUnknownSubmit
from airflow_provider_kandinsky.results.reuse_policy import DEFAULT_CLAIM_POLICY, check_reuse
from airflow_provider_kandinsky.segmind.constants import RECORD_LIFETIME
from airflow_provider_kandinsky.segmind.errors import KandinskyError
from airflow_provider_kandinsky.segmind.waiting.poller import DEFAULT_POLL_POLICY
from airflow_provider_kandinsky.tasks.arguments import check_choice, check_output_path, invalid_argument
from airflow_provider_kandinsky.tasks.image_task import ImageTask

OnBudget = Literal["fail", "wait"]
#: The hook's; importing the hook would import the client.
DEFAULT_CONN_ID: Final = "kandinsky_default"


class GenerationOperator(ImageTask):
    """The base of the operators that submit."""

    ui_color = "#f3e9fb"
    #: How jobs are polled in the worker.
    poll_policy = DEFAULT_POLL_POLICY
    #: How long a task may keep others from submitting what it submits, with ``reuse``.
    claim_policy = DEFAULT_CLAIM_POLICY

    kandinsky_conn_id: str
    model: str
    timeout: float
    poll_interval: float | None
    durable: bool
    on_unknown_submit: OnUnknownSubmit
    reuse: bool
    deferrable: bool
    on_budget: OnBudget
    max_cost: float | None

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume; if that is because the deferral itself ended, wait here for what is in flight."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralTimeout, TaskDeferralError) as error:
            if not self._engine(context).can_wait_here():
                raise  # what was in flight went with the deferral
            self.log.warning("Waiting in the triggerer ended: %s", error)
            # The timeout comes after all deadlines; a trigger that could not start has not used its time.
            is_over = isinstance(error, TaskDeferralTimeout)
        return self._engine(context).wait_here(is_over=is_over)

    def dry_run(self) -> None:
        """Log what the task would cost, and submit nothing."""
        getattr(super(), "dry_run", lambda: None)()  # which renders and logs the fields; Airflow 3.0 has none
        from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook

        with self._failures(None), KandinskyHook(self.kandinsky_conn_id) as hook:
            requests, defaults = self._requests_and_defaults()
            quote = hook.quote(requests, self.model, output_path=self.output_path, reuse=self.reuse, **defaults)
        self.log.info("Nothing was submitted. Quote: %s", quote)

    def _requests_and_defaults(self) -> tuple[Any, dict[str, Any]]:
        """What is asked for: requests, and the arguments that they have in common."""
        raise NotImplementedError

    def _engine(self, context: Context) -> Any:
        """What runs the task."""
        raise NotImplementedError

    def _failures(self, context: Context | None) -> AbstractContextManager[None]:
        """Have Airflow retry what a retry may cure.

        :param context: the running task's; ``None`` while the DAG is parsed.
        """
        from airflow_provider_kandinsky.operators._runtime import report_errors

        return report_errors(self, context)

    def _check_arguments(self) -> None:
        """Check what is known before templates are rendered; the rest waits for the task to run."""
        try:
            self._check_literals()
        except KandinskyError:
            with self._failures(None):
                raise

    def _check_literals(self) -> None:
        raise NotImplementedError

    def _check_shared(self, samples: int) -> None:
        """
        :param samples: how many images are wanted of a job, as far as known.
        """
        check_output_path(self.output_path, samples)
        check_reuse(self.reuse, self.output_path)
        if not 0 < self.timeout <= RECORD_LIFETIME:
            allowed = f"a number of seconds above 0, at most {RECORD_LIFETIME:.0f}"
            raise invalid_argument("timeout", self.timeout, allowed)
        check_choice("on_unknown_submit", self.on_unknown_submit, OnUnknownSubmit)
        if self.poll_interval is not None and self.poll_interval <= 0:
            raise invalid_argument("poll_interval", self.poll_interval, "a number of seconds above 0")
        check_choice("on_budget", self.on_budget, OnBudget)
        if self.max_cost is not None and not self.max_cost > 0:
            raise invalid_argument("max_cost", self.max_cost, "a number of dollars above 0")
