"""What the tests need of Airflow and the package does not, from where each version has it."""

try:
    from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException, TaskDeferred
except ImportError:
    from airflow.exceptions import AirflowRescheduleException, AirflowSkipException, TaskDeferred

try:
    from airflow.sdk.execution_time.timeout import TimeoutPosix
except ImportError:
    from airflow.utils.timeout import TimeoutPosix

__all__ = ["AirflowRescheduleException", "AirflowSkipException", "TaskDeferred", "TimeoutPosix"]
