"""What each version of Airflow can do, and workarounds for its behaviour."""
