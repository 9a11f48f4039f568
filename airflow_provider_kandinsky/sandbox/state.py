"""One life of the sandbox: from its start, or a reset, to the next reset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_kandinsky.sandbox.call_log import CallLog
from airflow_provider_kandinsky.sandbox.faults import FaultPlan
from airflow_provider_kandinsky.sandbox.service import Service
from airflow_provider_kandinsky.sandbox.settings import Settings


class State:
    """Service, faults and records that begin and end together."""

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

        :raises ValidationError: if a name or value is not allowed; nothing is changed then.
        """
        settings = Settings.model_validate(self.settings.model_dump() | dict(changes))
        self.service.configure(settings, frozenset(changes))

    def submissions(self) -> list[dict[str, Any]]:
        """Every job that was accepted, and so billed, in order."""
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
    """Holds the life that is on. A call keeps the one it came into, so that an answer that was held back across a
    reset cannot reach into the next life."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._opening_settings = settings
        self._clock = clock
        self.backend = State(settings, clock)

    def reset(self) -> None:
        """Begin anew, with the settings of the start."""
        self.backend = State(self._opening_settings, self._clock)
