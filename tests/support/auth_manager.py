"""A user who may read DAGs but not their XComs, for those tests that ask what such a one is let see.

Airflow's own auth manager knows no such role, so this adds the one rule; to ask it and to refuse is left to Airflow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

#: The user's name; their role is to be VIEWER.
WITHOUT_XCOMS = "without_xcoms"

#: For the environment of a :class:`~demo.local_airflow.LocalAirflow` that has this user.
ENVIRONMENT = {
    "PYTHONPATH": str(Path(__file__).parent),
    "AIRFLOW__CORE__AUTH_MANAGER": f"{Path(__file__).stem}.AuthManager",
}


class AuthManager(SimpleAuthManager):
    def is_authorized_dag(self, *, user: Any, access_entity: DagAccessEntity | None = None, **request: Any) -> bool:
        if user.username == WITHOUT_XCOMS and access_entity is DagAccessEntity.XCOM:
            return False
        return super().is_authorized_dag(user=user, access_entity=access_entity, **request)
