"""An ETL step: generate an image for each row, and add its URL to the row, in the same order.

Each row is a mapped task, so a failed one is retried or cleared alone, and the others are not submitted again.
"""

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import dag, task

from airflow_provider_kandinsky.operators.text_to_image import KandinskyTextToImageOperator


def to_arguments(product: dict[str, Any]) -> dict[str, Any]:
    """The arguments for a row. Each row has a fixed seed, so that a product gets the same image in every run."""
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
    def load(products: list[dict[str, Any]], images: list[list[str]]) -> list[dict[str, Any]]:
        # The results of mapped tasks are in the order of the rows, whichever finished first.
        return [product | {"image": urls[0]} for product, urls in zip(products, images, strict=True)]

    load(products, paint.output)


etl_enrichment()
