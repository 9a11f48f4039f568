"""The sandbox's state, replaced as a whole by a reset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_kandinsky.sandbox.call_log import CallLog
from airflow_provider_kandinsky.sandbox.faults import FaultPlan
from airflow_provider_kandinsky.sandbox.service import Service
from airflow_provider_kandinsky.sandbox.settings import Settings


class State:
    """Service, faults and call log."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self.service = Service(settings, clock)
        self.faults = FaultPlan()
        self.calls = CallLog()

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.service.settings

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Change some settings.

        :raises ValidationError: a name or value is not allowed; nothing is changed.
        """
        settings = Settings.model_validate(self.settings.model_dump() | dict(changes))
        self.service.configure(settings, frozenset(changes))

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
            for job in self.service.jobs.values()
        ]


class StateHolder:
    """Holds the current state. A call keeps the state it started with, so a stalled call does not affect the state
    after a reset."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._initial_settings = settings
        self._clock = clock
        self.state = State(settings, clock)

    def reset(self) -> None:
        """Start again with the initial settings."""
        self.state = State(self._initial_settings, self._clock)
