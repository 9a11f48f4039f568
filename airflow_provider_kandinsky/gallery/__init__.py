"""The images of a task or a run inside Airflow's own UI: a plugin for Airflow 3.1 and later."""
