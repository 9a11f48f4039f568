"""A picture for each row of a table: one task paints them all, and the URIs are written back into the table.

The table is in the database of the connection ``products_db``, of any kind that Airflow's common SQL knows, such as
``AIRFLOW_CONN_PRODUCTS_DB='{"conn_type": "sqlite", "host": "/tmp/products.db"}'``. Its pictures go to the
``output_folder`` of the run's parameters: a URI of Airflow's object storage.

A product whose picture could not be painted keeps none, and is asked for again by the next run.
"""

import os
import tempfile
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.common.sql.hooks.sql import DbApiHook
from airflow.sdk import Connection, Param, dag, task

from airflow_provider_kandinsky.operators.text_to_image_batch import KandinskyTextToImageBatchOperator

CONNECTION = "products_db"
OUTPUT_FOLDER = os.environ.get("KANDINSKY_OUTPUT_FOLDER", tempfile.gettempdir())
PRODUCTS = [(4711, "tea pot", "sea green"), (815, "desk lamp", "brass"), (1337, "rucksack", "mustard yellow")]


def database() -> DbApiHook:
    return Connection.get(CONNECTION).get_hook()


@dag(
    dag_id="kandinsky_product_pictures",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={"output_folder": Param(f"file://{OUTPUT_FOLDER}/products", type="string")},
    # A retry goes on with what is not painted, and pays for nothing twice.
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["kandinsky"],
)
def product_pictures():
    @task
    def have_products() -> None:
        """A table to try this with; yours is there already."""
        database().run(
            "CREATE TABLE IF NOT EXISTS products (sku INTEGER PRIMARY KEY, name TEXT, colour TEXT, picture TEXT)"
        )
        for product in PRODUCTS:
            database().run("INSERT OR IGNORE INTO products (sku, name, colour) VALUES (?, ?, ?)", parameters=product)

    @task
    def extract() -> list[dict[str, Any]]:
        rows = database().get_records("SELECT sku, name, colour FROM products WHERE picture IS NULL ORDER BY sku")
        return [{"sku": sku, "name": name, "colour": colour} for sku, name, colour in rows]

    @task
    def to_requests(products: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What to paint for each row. The seed is the row's own, so that a product looks the same in every run."""
        return [
            {"prompt": f"product photo of {product['name']}, {product['colour']}, on white", "seed": product["sku"]}
            for product in products
        ]

    @task
    def load(products: list[dict[str, Any]], pictures: list[dict[str, Any]]) -> None:
        # The results come in the order of the requests; one that failed has an error, and no URLs.
        for product, picture in zip(products, pictures, strict=True):
            for uri in picture["urls"]:
                database().run("UPDATE products SET picture = ? WHERE sku = ?", parameters=(uri, product["sku"]))

    products = extract()
    paint = KandinskyTextToImageBatchOperator(
        task_id="paint",
        requests=to_requests(products),
        negative_prompt="people, text, watermark",
        output_path="{{ params.output_folder }}",
        on_item_failure="keep",
        deferrable=True,
    )
    have_products() >> products
    load(products, paint.output)


product_pictures()
