"""The image, one click from the task."""

from __future__ import annotations

from typing import Final

#: Where the gallery is mounted below Airflow's own URL, and the route of its tab on a task instance.
GALLERY_ROUTE: Final = "kandinsky-gallery"
#: The route of its tab on a DAG run: Airflow takes each route once only.
RUN_GALLERY_ROUTE: Final = "kandinsky-gallery-run"
