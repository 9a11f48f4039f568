"""The provider's metadata for Airflow. Imports nothing heavy: Airflow reads this at the start of every command.

The connection form of Airflow 3.3 and later is built from this alone, without importing the hook.
"""

from __future__ import annotations

from typing import Any, Final

_NAME: Final = "Kandinsky (Segmind)"
_PACKAGE: Final = "airflow_provider_kandinsky"

CONNECTION_TYPE: Final[dict[str, Any]] = {
    "connection-type": "kandinsky",
    "hook-class-name": f"{_PACKAGE}.hooks.kandinsky.KandinskyHook",
    "hook-name": _NAME,
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "login", "extra"],
        "relabeling": {"password": "API key", "host": "Base URL"},
        "placeholders": {
            "password": "SG_… (or leave it and the base URL empty, and set SEGMIND_API_KEY)",
            "host": "https://api.segmind.com",
            # Not hidden: Airflow 3.3.1 and 3.3.2 treat an empty port as changed and refuse to test the connection.
            "port": "443 (Airflow 3.3.1 and 3.3.2 cannot test a connection without a port)",
        },
    },
    "conn-fields": {
        "requests_per_minute": {
            "label": "Requests per minute",
            "description": "The limit of your plan. Empty: slow down only when the service says so.",
            "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
        },
        "request_timeout": {
            "label": "Request timeout",
            "description": "Seconds for one whole request to the service. Default: 30.",
            "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
        },
        "retry_timeout": {
            "label": "Retry timeout",
            "description": "Seconds, 0 to 20, for which a worker retries a submission, a call to the history or a "
            "download before it raises the error. Default: 20.",
            "schema": {"type": ["number", "null"], "minimum": 0, "maximum": 20},
        },
        "history_url": {
            "label": "History URL",
            "description": "The whole URL of the request history, which says whether a lost submission was accepted. "
            "Empty: Segmind's own where the base URL is, else none. off: none.",
            "schema": {"type": ["string", "null"]},
        },
        "allow_insecure": {
            "label": "Allow insecure",
            "description": "Permit http to hosts other than this one: the API key then travels in clear text.",
            "schema": {"type": ["boolean", "null"], "default": False},
        },
        "image_hosts": {
            "label": "Image hosts",
            "description": "Hosts that images may be fetched from, comma-separated, besides images.segmind.com; "
            "with a port unless it is 443.",
            "schema": {"type": ["string", "null"]},
        },
        "daily_budget": {
            "label": "Daily budget",
            "description": "Dollars that the account may spend in a UTC day, read from its request history before each "
            "submission of a task. Empty: no limit.",
            "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
        },
        "ledger_path": {
            "label": "Ledger path",
            "description": "An object storage URI, such as s3://conn_id@bucket/ledger, where tasks keep what they have "
            "submitted. Empty: in Airflow's task state store (3.3 and later).",
            "schema": {"type": ["string", "null"]},
        },
    },
}


def _modules(folder: str, *names: str) -> list[dict[str, Any]]:
    return [{"integration-name": _NAME, "python-modules": [f"{_PACKAGE}.{folder}.{name}" for name in names]}]


def _option(description: str, kind: str, default: str, example: str | None = None) -> dict[str, Any]:
    """An option of Airflow's configuration."""
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": kind,
        "example": example,
        "default": default,
    }


PROVIDER_INFO: Final[dict[str, Any]] = {
    "package-name": "airflow-provider-kandinsky",
    "name": _NAME,
    "description": "Kandinsky image generation on Segmind: every image paid once (on Airflow 3.3 or later, or with a "
    "ledger path; with the service's request history for lost responses and clears); deferrable tasks hold no worker "
    "while they wait.",
    # All releases, the newest first; the registries of Airflow's providers read them here.
    "versions": ["0.1.0"],
    "integrations": [
        {
            "integration-name": _NAME,
            "external-doc-url": "https://www.segmind.com/models/kandinsky2.1-txt2im",
            "tags": ["service"],
        }
    ],
    "operators": _modules("operators", "text_to_image", "text_to_image_batch", "review"),
    "sensors": _modules("sensors", "job", "credits"),
    "hooks": _modules("hooks", "kandinsky"),
    "triggers": _modules("triggers", "job", "batch", "credits"),
    "connection-types": [CONNECTION_TYPE],
    "config": {
        "kandinsky": {
            "description": "What the Kandinsky provider shows of its tasks, and where these keep their ledgers.",
            "options": {
                "lineage_includes_prompt": _option(
                    "Whether OpenLineage events include the prompts, which then leave Airflow.", "boolean", "False"
                ),
                "gallery_serves_files": _option(
                    "Whether the gallery serves stored images and reads manifests, with the API server's rights: only "
                    "those below the output_path of the task instance.",
                    "boolean",
                    "True",
                ),
                "ledger_path": _option(
                    "An object storage URI where tasks keep what they have submitted, for connections without a "
                    "ledger_path of their own. Empty: in Airflow's task state store (3.3 and later).",
                    "string",
                    "",
                    "s3://conn_id@bucket/ledger",
                ),
            },
        }
    },
    "task-decorators": [{"name": "kandinsky", "class-name": f"{_PACKAGE}.decorators.kandinsky.kandinsky_task"}],
    "extra-links": [f"{_PACKAGE}.links.kandinsky.KandinskyImageLink"],
}
