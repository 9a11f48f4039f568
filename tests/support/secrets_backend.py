"""A secrets backend that denies a connection, for those tests that ask what becomes of a page then."""

from __future__ import annotations

from pathlib import Path

from airflow.secrets import BaseSecretsBackend

try:
    from airflow.exceptions import AirflowSecretsBackendAccessDenied as AccessDenied
except ImportError:  # an Airflow that asks the next backend then
    AccessDenied = PermissionError

#: The connection that nobody may have.
DENIED = "denied"
#: What the backend says then, and what no log may hold.
REASON = "the-path-of-a-secret"

#: For the environment of a :class:`~demo.local_airflow.LocalAirflow` that has this backend.
ENVIRONMENT = {
    "PYTHONPATH": str(Path(__file__).parent),
    "AIRFLOW__SECRETS__BACKEND": f"{Path(__file__).stem}.DenyingBackend",
}


class DenyingBackend(BaseSecretsBackend):
    def get_connection(self, conn_id: str, team_name: str | None = None) -> None:
        if conn_id == DENIED:
            raise AccessDenied(REASON)
