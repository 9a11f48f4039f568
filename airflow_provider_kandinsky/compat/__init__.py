"""What each version of Airflow can do, and where its own behaviour has to be worked around."""
