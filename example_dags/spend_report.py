"""What the account has spent yesterday, by model, loaded into a table: once a day, and again as often as you like.

The table is in the database of the connection ``products_db``, of any kind that Airflow's common SQL knows, such as
``AIRFLOW_CONN_PRODUCTS_DB='{"conn_type": "sqlite", "host": "/tmp/products.db"}'`` with
``apache-airflow-providers-sqlite``. The amounts are those of the service's request history, which also has what others
have submitted with the account.

The run's parameter ``day`` names another day. A day's rows are replaced, so that none is counted twice.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from airflow.providers.common.sql.hooks.sql import DbApiHook
from airflow.sdk import Connection, Param, dag, task

from airflow_provider_kandinsky.hooks.kandinsky import KandinskyHook

CONNECTION = "products_db"
COLUMNS = ["day", "model", "dollars", "requests", "failures"]


def database() -> DbApiHook:
    return Connection.get(CONNECTION).get_hook()


@dag(
    dag_id="kandinsky_spend_report",
    schedule="15 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    params={"day": Param(None, type=["null", "string"], format="date")},
    # The history is only read, which is free.
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
    tags=["kandinsky"],
)
def spend_report():
    @task
    def extract(params: dict[str, Any]) -> dict[str, Any]:
        day = date.fromisoformat(params["day"]) if params["day"] else datetime.now(UTC).date() - timedelta(days=1)
        with KandinskyHook() as hook:
            spent = hook.get_spend(day, day + timedelta(days=1))
        rows = [[day.isoformat(), each.model, each.dollars, each.requests, each.failures] for each in spent]
        return {"day": day.isoformat(), "rows": rows}

    @task
    def load(spent: dict[str, Any]) -> None:
        database().run(
            "CREATE TABLE IF NOT EXISTS kandinsky_spend "
            "(day TEXT, model TEXT, dollars REAL, requests INTEGER, failures INTEGER)"
        )
        database().run("DELETE FROM kandinsky_spend WHERE day = ?", parameters=(spent["day"],))
        database().insert_rows("kandinsky_spend", spent["rows"], target_fields=COLUMNS)

    load(extract())


spend_report()
