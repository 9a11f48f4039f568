"""Jobs that run for as long as a test wants, and not until a real clock says so, which a busy machine is late for."""

from __future__ import annotations

from airflow_provider_kandinsky.sandbox.client import Sandbox


def keep_running(sandbox: Sandbox) -> None:
    """Until ``sandbox.clear_faults()``, each poll finds a running job, and there is no history to find another in."""
    sandbox.fault("status", body={"status": "PROCESSING"}, times=10_000)
    # Not a 503, which is asked again for seconds.
    sandbox.fault("history", status=403, times=10_000)
