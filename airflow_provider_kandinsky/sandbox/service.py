"""The service without HTTP: authentication, limits, jobs. Sans-IO; the clock is injected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_kandinsky.sandbox.balance import Balance
from airflow_provider_kandinsky.sandbox.call_log import CallLog
from airflow_provider_kandinsky.sandbox.faults import FaultPlan
from airflow_provider_kandinsky.sandbox.jobs import Job, create_job
from airflow_provider_kandinsky.sandbox.rate_limit import RateLimit
from airflow_provider_kandinsky.sandbox.settings import Settings
from airflow_provider_kandinsky.sandbox.team import with_team_mates

_POLLS = frozenset({"status", "result"})


class ApiError(Exception):
    """An error response.

    :param status: HTTP status.
    :param error: the body's ``error``.
    """

    def __init__(self, status: int, error: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.headers = dict(headers or {})


class Service:
    """The jobs, the account, the faults and the log of calls since the start or the last reset.

    A reset replaces it as a whole. A call keeps the one it started with, so a stalled call does not affect what comes
    after a reset.

    :param clock: seconds since the epoch.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._initial_settings = settings
        self.settings = settings
        self.clock = clock
        self.faults = FaultPlan()
        self.calls = CallLog()
        #: In order of submission. Kept after they expire, as images and history live longer.
        self.jobs: dict[str, Job] = {}
        #: The same and those of team-mates, in order of submission.
        self.history: list[Job] = []
        self._warm_models: set[str] = set()
        self._balance = Balance()
        self._rate_limit = RateLimit()

    def restarted(self) -> Service:
        """A new service with the initial settings."""
        return Service(self._initial_settings, self.clock)

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Change some settings. Accepted jobs keep theirs; ``credits`` or ``free_credits`` reset the balance.

        :raises ValidationError: a name or value is not allowed; nothing is changed.
        """
        self.settings = Settings.model_validate(self.settings.model_dump() | dict(changes))
        if changes.keys() & {"credits", "free_credits"}:
            self._balance = Balance()

    def admit(self, call: str, key: str | None) -> None:
        """Check the key and the rate limit of a call.

        :raises ApiError: 401 or 429.
        """
        if key is None or key not in self.settings.api_keys + self.settings.forbidden_keys:
            raise ApiError(401, "Unauthorized: invalid or missing API key")
        if not self._counts(call):
            return
        headers = self._rate_limit.refusal(key, self.settings, self.clock())
        if headers is not None:
            raise ApiError(429, "Rate limit exceeded", headers)

    def _counts(self, call: str) -> bool:
        if call == "history":
            return self.settings.history_counts
        return self.settings.count_polls or call not in _POLLS

    def submit(self, call: str, key: str, model: str, payload: Mapping[str, Any]) -> Job:
        """Accept a job, and bill it.

        :raises ApiError: the request is rejected. Invalid parameters are accepted, and the job then fails.
        """
        settings, now = self.settings, self.clock()
        if key in settings.forbidden_keys:
            raise ApiError(403, f"You do not have permission to use {model}")
        if model in settings.retired_models:
            raise ApiError(410, f"Model {model} has been retired")
        if model not in settings.models:
            raise ApiError(404, f"Model {model} not found")
        prompt = payload.get("prompt")
        if prompt is None or (isinstance(prompt, str) and not prompt.strip()):
            raise ApiError(400, "Prompt is Mandatory")
        cold = model not in self._warm_models
        job = create_job(call, model, payload, settings, now=now, number=len(self.jobs), cold=cold)
        if not self._balance.affords(job.cost, settings, now):
            raise ApiError(406, "insufficient credits")
        self._balance.bill(job)
        self._warm_models.add(model)
        self.history += with_team_mates(job, len(self.jobs), settings)
        self.jobs[job.request_id] = job
        return job

    def submissions(self) -> list[dict[str, Any]]:
        """The accepted, and so billed, jobs in order."""
        return [
            {
                "request_id": job.request_id,
                "model": job.model,
                "payload": dict(job.payload),
                "at": job.submitted_at,
                "call": job.call,
            }
            for job in self.jobs.values()
        ]

    def find(self, request_id: str) -> Job:
        """Find a job whose record has not expired.

        :raises ApiError: 404: it is unknown or expired.
        """
        job = self.jobs.get(request_id)
        if job is None or job.call != "submit" or self.clock() >= job.submitted_at + self.settings.expiry:
            raise ApiError(404, f"Request {request_id} not found")
        return job

    def find_image(self, name: str) -> tuple[Job, int]:
        """Find the job of an image, and the image's index.

        :raises ApiError: 404: it does not exist, not yet or no longer.
        """
        job = self.jobs.get(name.rpartition("-")[0])
        now = self.clock()
        if job is None or name not in job.image_names or now < job.finished_at:
            raise ApiError(404, "File not found")
        if now >= job.submitted_at + self.settings.image_expiry:
            raise ApiError(404, "File not found")
        return job, job.image_names.index(name)

    def balance(self) -> tuple[float, float]:
        """The remaining paid and free credits, in dollars.

        :raises ApiError: 404: the account has no record.
        """
        if self.settings.credits is None:
            raise ApiError(404, "No credits found for the user")
        return self._balance.remaining(self.settings, self.clock())

    @property
    def remaining(self) -> float:
        """All remaining credits, in dollars, even if the account has no record."""
        return sum(self._balance.remaining(self.settings, self.clock()))
