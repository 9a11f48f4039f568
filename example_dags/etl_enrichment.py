"""A step in an ETL: rows come in, each gets a picture, rows with picture URLs go out, in the same order.

Every row is a mapped task of its own, so that one that fails is retried or cleared by itself, and the others are
neither painted nor paid again.
"""

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag, task

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator


def to_arguments(product: dict[str, Any]) -> dict[str, Any]:
    """What to paint for a row. The seed is the row's own, so that a product looks the same in every run."""
    return {
        "prompt": f"product photo of {product['name']}, {product['colour']}, on white",
        "negative_prompt": "people, text, watermark",
        "seed": product["sku"],
    }


@dag(
    dag_id="kandinsky_etl_enrichment",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30)},
    tags=["kandinsky"],
)
def etl_enrichment():
    @task
    def extract() -> list[dict[str, Any]]:
        return [
            {"sku": 4711, "name": "tea pot", "colour": "sea green"},
            {"sku": 815, "name": "desk lamp", "colour": "brass"},
            {"sku": 1337, "name": "rucksack", "colour": "mustard yellow"},
        ]

    products = extract()
    paint = KandinskyTextToImageOperator.partial(task_id="paint", deferrable=True).expand_kwargs(
        products.map(to_arguments)
    )

    @task
    def load(products: list[dict[str, Any]], pictures: list[list[str]]) -> list[dict[str, Any]]:
        # The results of mapped tasks come in the order of the rows, whichever was finished first.
        return [product | {"picture": urls[0]} for product, urls in zip(products, pictures, strict=True)]

    load(products, paint.output)


etl_enrichment()
