"""The connection form for Airflow before 3.3, which asks the hook for it. Later versions read the provider info."""

from __future__ import annotations

import importlib
from typing import Any

from airflow_provider_kandinsky.provider_info import CONNECTION_TYPE


def field_behaviour() -> dict[str, Any]:
    """The hidden fields, labels and placeholders of the fields that every connection has."""
    return {name.replace("-", "_"): value for name, value in CONNECTION_TYPE["ui-field-behaviour"].items()}


def form_widgets() -> dict[str, Any]:
    """A WTForms field for each extra.

    :raises ImportError: WTForms is not installed. Airflow installs a stub of it before it calls this.
    """
    # Imported by name: Airflow's WTForms stub has no types.
    wtforms = importlib.import_module("wtforms")
    return {name: _widget(wtforms, **field) for name, field in CONNECTION_TYPE["conn-fields"].items()}


def _widget(wtforms: Any, label: str, description: str, schema: dict[str, Any]) -> Any:
    # Numbers are text fields: WTForms has one for integers here, but none for other numbers.
    kind = wtforms.BooleanField if "boolean" in schema["type"] else wtforms.StringField
    return kind(label, description=description, default=schema.get("default"))
