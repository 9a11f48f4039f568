"""The service without its wire: who may call, what is accepted, what becomes of it.

Sans-IO. The clock comes in, so that an hour passes in a test as fast as it is written down.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_kandinsky.sandbox.account import Balance, RateLimit, rate_limit_headers
from airflow_provider_kandinsky.sandbox.jobs import Job, accept
from airflow_provider_kandinsky.sandbox.settings import Settings

_POLLS = frozenset({"status", "result"})


class Refusal(Exception):
    """The service says no.

    :param status: the HTTP status it says so with.
    :param error: the text in the body's ``error``.
    """

    def __init__(self, status: int, error: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.headers = dict(headers or {})


class Service:
    """All jobs of one life of the sandbox.

    :param clock: seconds since the epoch.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self.settings = settings
        self.clock = clock
        #: In the order of submission. Kept beyond their expiry: pictures and history live longer.
        self.jobs: dict[str, Job] = {}
        self._warm_models: set[str] = set()
        self._purse = Balance()
        self._gate = RateLimit()

    def configure(self, settings: Settings, changed: frozenset[str]) -> None:
        """Behave differently from now on. Jobs keep the life they were accepted with.

        :param changed: the names that were given; naming ``credits`` or ``free_credits`` fills the purse anew.
        """
        self.settings = settings
        if changed & {"credits", "free_credits"}:
            self._purse = Balance()

    def admit(self, call: str, key: str | None) -> None:
        """Let a keyed call in, or refuse it with 401 or 429."""
        if key is None or key not in self.settings.api_keys + self.settings.forbidden_keys:
            raise Refusal(401, "Unauthorized: invalid or missing API key")
        if call in _POLLS and not self.settings.count_polls:
            return
        now = self.clock()
        reset_at = self._gate.reset_at(key, self.settings, now)
        if reset_at is not None:
            headers = rate_limit_headers(self.settings, now=now, reset_at=reset_at)
            raise Refusal(429, "Rate limit exceeded", headers)

    def submit(self, call: str, key: str, model: str, payload: Mapping[str, Any]) -> Job:
        """Accept a job, and bill it.

        :raises Refusal: for what the service checks before it accepts; other bad parameters fail later.
        """
        settings, now = self.settings, self.clock()
        if key in settings.forbidden_keys:
            raise Refusal(403, f"You do not have permission to use {model}")
        if model in settings.retired_models:
            raise Refusal(410, f"Model {model} has been retired")
        if model not in settings.models:
            raise Refusal(404, f"Model {model} not found")
        prompt = payload.get("prompt")
        if prompt is None or (isinstance(prompt, str) and not prompt.strip()):
            raise Refusal(400, "Prompt is Mandatory")
        job = accept(
            str(uuid.uuid4()),
            call=call,
            model=model,
            payload=payload,
            now=now,
            number=len(self.jobs),
            cold=model not in self._warm_models,
            settings=settings,
        )
        if not self._purse.affords(job.cost, settings, now):
            raise Refusal(406, "insufficient credits")
        self._purse.pay(job)
        self._warm_models.add(model)
        self.jobs[job.request_id] = job
        return job

    def find(self, request_id: str) -> Job:
        """A job whose record is still kept.

        :raises Refusal: 404, if it is unknown or expired.
        """
        job = self.jobs.get(request_id)
        if job is None or job.call != "submit" or self.clock() >= job.submitted_at + self.settings.expiry:
            raise Refusal(404, f"Request {request_id} not found")
        return job

    def find_image(self, name: str) -> tuple[Job, int]:
        """The job that a picture belongs to, and which of its pictures it is.

        :raises Refusal: 404, if there is no such file, not yet or no longer.
        """
        job = self.jobs.get(name.rpartition("-")[0])
        now = self.clock()
        if job is None or name not in job.image_names or now < job.finished_at:
            raise Refusal(404, "File not found")
        if now >= job.submitted_at + self.settings.image_expiry:
            raise Refusal(404, "File not found")
        return job, job.image_names.index(name)

    def balance(self) -> tuple[float, float]:
        """Paid and free credits that are left, in dollars.

        :raises Refusal: 404, if the account has no record.
        """
        if self.settings.credits is None:
            raise Refusal(404, "No credits found for the user")
        return self._purse.balance(self.settings, self.clock())

    @property
    def remaining(self) -> float:
        """All that is left, in dollars, whether or not the account has a record."""
        return sum(self._purse.balance(self.settings, self.clock()))
