"""A running task that generates from one prompt. Imported when it runs, not when its DAG is parsed."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from airflow.sdk import Context

from airflow_provider_kandinsky.compat.airflow import AirflowTaskTimeout
from airflow_provider_kandinsky.durable.generation import ClaimedElsewhere, Generation, SubmittedJob, job_deferred_for
from airflow_provider_kandinsky.durable.service import Service
from airflow_provider_kandinsky.operators._runtime import (
    defer_until_day_ends,
    defer_until_reset,
    keeps_record,
    open_service_of,
)
from airflow_provider_kandinsky.operators._single_reuse import SingleReuse
from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.segmind.errors import KandinskyError, RateLimitedError
from airflow_provider_kandinsky.segmind.request import TextToImageRequest
from airflow_provider_kandinsky.segmind.schemas import GenerationResult
from airflow_provider_kandinsky.tasks.deferral import defer_until, defer_until_done


class SingleTask:
    """One process of a task.

    :param task: its arguments, rendered.
    """

    def __init__(self, task: KandinskyTextToImageOperator, context: Context) -> None:
        self._task = task
        self._context = context
        self._ti = context["ti"]
        self._reuse = SingleReuse(task, context)

    def submit(self, resets: int = 0) -> list[str] | str:
        """Submit, unless an earlier try has; then wait, defer or return.

        :param resets: how often the submission has waited for the rate limit to reset.
        """
        task = self._task
        with task._failures(self._context), open_service_of(task) as service:
            request = self._task.build_request(self._context)
            generation = self._generation(service, request)
            job = self._submit_or_reattach(generation, request, resets, service)
            if job.reused is not None:
                return self._reuse.deliver_again(job.reused)
            self._note_request(job.request_id)
            self._ti.xcom_push(key="request_id", value=job.request_id)
            if not task.wait_for_completion:
                return job.request_id
            return self._finish(generation, job, request, service)

    def complete(self, event: dict[str, Any]) -> list[str]:
        """Deliver what the trigger found."""
        self._note_request(event["request_id"])
        with self._task._failures(self._context), open_service_of(self._task) as service:
            if "result" in event:
                return self._deliver(GenerationResult.from_dict(event["result"]), service)
            request = self._task.build_request(self._context)
            generation = self._generation(service, request, event["request_id"])
            job = generation.collect({"error": event["error"]} if "error" in event else {})
            return self._finish(generation, job, request, service)

    def can_wait_here(self) -> bool:
        """Whether it is known what an ended deferral was waiting for."""
        return self.xcom("request_id") is not None

    def wait_here(self, *, is_over: bool) -> list[str]:
        """Wait for what was deferred for, in this process.

        :param is_over: whether there is time for one poll only.
        """
        task, request_id = self._task, self.xcom("request_id")
        self._note_request(request_id)
        with task._failures(self._context), open_service_of(task) as service:
            rendered = {"prompt": str(task.prompt), "seed": _sent_seed(task.seed)}
            sent = {} if task.has_sent_arguments else rendered
            job, changed = job_deferred_for(self._context, service, request_id, sent)
            for name in changed:
                setattr(task, name, None)
            deadline = time.time() if is_over else self._deadline(job)
            result = self._poll(job, deadline, service)
            return self._deliver(result.with_seed(_sent_seed(task.seed)), service)

    def xcom(self, key: str) -> Any:
        """What this try has pushed before it was deferred."""
        return self._ti.xcom_pull(task_ids=self._task.task_id, map_indexes=self._ti.map_index, key=key)

    def _generation(self, service: Service, request: TextToImageRequest, request_id: str | None = None) -> Generation:
        task = self._task
        return Generation(
            self._context,
            service,
            request,
            request_id=request_id,
            id_only=not task.wait_for_completion,
            max_cost=task.max_cost,
            index=self._reuse.index(request),
        )

    def _submit_or_reattach(
        self, generation: Generation, request: TextToImageRequest, resets: int, service: Service
    ) -> SubmittedJob:
        task, interval = self._task, self._task.claim_policy.interval
        while True:
            try:
                return self._submit_once(generation, request, resets)
            except ClaimedElsewhere as claimed:
                task.log.info(
                    "Another task is making the same image; waiting for it, for %.0f s at most", claimed.seconds
                )
                if task.deferrable:
                    defer_until(task, time.time() + interval, {"arguments": request.payload(), "resets": resets})
                service.runner.run(asyncio.sleep(interval))

    def _submit_once(self, generation: Generation, request: TextToImageRequest, resets: int) -> SubmittedJob:
        try:
            return generation.submit_or_reattach()
        except RateLimitedError as error:
            if self._task.deferrable:
                defer_until_reset(self._task, error, resets, {"arguments": request.payload()})
            raise
        except KandinskyError as error:
            defer_until_day_ends(self._task, error, {"arguments": request.payload()})
            raise
        except AirflowTaskTimeout as error:
            next_try = "asks the request history what became of it" if self._is_kept() else "submits it again"
            raise AirflowTaskTimeout(
                f"{error}. A submission was under way, which may have been accepted and billed; a retry {next_try}"
            ) from error

    def _finish(
        self,
        generation: Generation,
        job: SubmittedJob,
        request: TextToImageRequest,
        service: Service,
    ) -> list[str]:
        """Wait for a job, here or by deferring, and deliver what it gives."""
        while job.result is None:
            deadline = self._deadline(job)
            if self._task.deferrable:
                defer_until_done(
                    self._task,
                    self._context,
                    self._task.output_path,
                    deadline,
                    kwargs={"arguments": request.payload()},
                    request_id=job.request_id,
                    kandinsky_conn_id=self._task.kandinsky_conn_id,
                    model=self._task.model,
                    submitted_at=job.submitted_at,
                    poll_interval=self._task.poll_interval,
                    seed=_sent_seed(request.seed),
                    samples=request.url_count(self._task.model),
                )
            try:
                job = generation.collect(self._poll(job, deadline, service))
            except KandinskyError as error:
                job = generation.collect({"error": error.to_dict()})
        return self._deliver(job.result, service, already_delivered=job.already_delivered)

    def _deadline(self, job: SubmittedJob) -> float:
        # A try that re-attaches waits as long as the first one, but not for what the service has forgotten. It counts
        # from its beginning, as it may wait several times.
        return job.deadline(self._ti.start_date.timestamp(), self._task.timeout)

    def _poll(self, job: SubmittedJob, deadline: float, service: Service) -> GenerationResult:
        task = self._task
        seconds = max(0.0, deadline - time.time())
        task.log.info("Waiting for request %s here, for %.0f s at most", job.request_id, seconds)

        async def poll() -> GenerationResult:
            client = await service.hook.aget_conn()
            return await client.poll_until_done(
                job.request_id,
                task.model,
                submitted_at=job.submitted_at,
                deadline=deadline,
                poll_interval=task.poll_interval,
            )

        try:
            return service.runner.run(poll())
        except AirflowTaskTimeout as error:
            raise AirflowTaskTimeout(
                f"{error}. Request {job.request_id} may still be running, and will then be billed. "
                + ("A retry re-attaches it" if self._is_kept() else "A retry submits it again")
            ) from error

    def _is_kept(self) -> bool:
        return keeps_record(self._task, self._context)

    def _note_request(self, request_id: str) -> None:
        """Keep the id for ``on_kill`` and for lineage."""
        self._task._request_id = request_id
        self._task._note_lineage(request_id, self._task.model, self._task.prompt)

    def _deliver(self, result: GenerationResult, service: Service, *, already_delivered: bool = False) -> list[str]:
        return self._task._deliver_result(
            result,
            self._context,
            service.hook,
            prompt=self._task.prompt,
            already_delivered=already_delivered,
            on_stored=self._reuse.on_stored(lambda: service.hook.get_conn().base_url),
        )


def _sent_seed(seed: Any) -> int | None:
    """The seed that was sent; ``None`` if the service drew one."""
    return seed if isinstance(seed, int) and seed != -1 else None
