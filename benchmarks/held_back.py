"""The operator with another hold-back than the one it ships with; see ``benchmarks/race.py``."""

from __future__ import annotations

import os
from typing import Any, NoReturn

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator
from airflow_provider_kandinsky.triggers import job, min_lifetime

# Final, but for this experiment.
min_lifetime.MIN_TRIGGER_LIFETIME = float(  # type: ignore[misc]
    os.environ.get("HOLD_BACK", min_lifetime.MIN_TRIGGER_LIFETIME)
)


class HeldBackTrigger(job.KandinskyJobTrigger):
    """Nothing but a name by which the triggerer comes to import this module."""


class HeldBackOperator(KandinskyTextToImageOperator):
    """The operator, waiting with that trigger."""

    def defer(self, *, trigger: Any, **arguments: Any) -> NoReturn:
        super().defer(trigger=HeldBackTrigger(**trigger.serialize()[1]), **arguments)
