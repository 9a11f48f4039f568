"""An image for each row of a table: one batch task generates them all, and the URIs are written into the table.

The table is in the database of the connection ``products_db``, of any kind that Airflow's common SQL knows, such as
``AIRFLOW_CONN_PRODUCTS_DB='{"conn_type": "sqlite", "host": "/tmp/products.db"}'`` with
``apache-airflow-providers-sqlite``. The images are stored in the run's parameter ``output_folder``, a URI of Airflow's
object storage.

A product whose image failed has none, and is submitted again by the next run.
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
    # A retry submits only what is missing.
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["kandinsky"],
)
def product_pictures():
    @task
    def have_products() -> None:
        """Create a table for this example; you have one already."""
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
        """The arguments for each row. Each row has a fixed seed, so that a product gets the same image in every run."""
        return [
            {"prompt": f"product photo of {product['name']}, {product['colour']}, on white", "seed": product["sku"]}
            for product in products
        ]

    @task
    def load(products: list[dict[str, Any]], images: list[dict[str, Any]]) -> None:
        # The results are in the order of the requests; a failed one has an error and no URLs.
        for product, image in zip(products, images, strict=True):
            for uri in image["urls"]:
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
