"""Airflow reads its home when it is imported, so it gets one of its own before any test module does that."""

import os
import tempfile

_airflow_home = tempfile.TemporaryDirectory(prefix="airflow-home-", ignore_cleanup_errors=True)
os.environ["AIRFLOW_HOME"] = _airflow_home.name
