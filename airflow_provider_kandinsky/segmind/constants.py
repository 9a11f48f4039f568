"""Numbers and names of the service that more than one module needs. Cheap to import."""

from __future__ import annotations

from typing import Final

DEFAULT_MODEL: Final = "kandinsky2.1-txt2im"

DEFAULT_BASE_URL: Final = "https://api.segmind.com"
#: Where the vendor's own client reads past requests, with the same key. It belongs to the base URL above alone.
DEFAULT_HISTORY_URL: Final = "https://api.spotprod.segmind.com/inference-request/request-history"
IMAGE_HOST: Final = "images.segmind.com"

#: Seconds from its submission for which the service keeps the record of a job.
RECORD_LIFETIME: Final = 3600.0
#: Seconds for which it keeps the images; reported, not documented.
IMAGE_LIFETIME: Final = 7 * 24 * 3600.0

#: Seconds.
CONNECT_TIMEOUT: Final = 5.0
REQUEST_TIMEOUT: Final = 30.0
#: A page of the history that takes longer is of no use to those who wait for their jobs.
HISTORY_TIMEOUT: Final = 10.0
#: The blocking v1 call lasts until the image is generated, which includes cold starts of minutes.
GENERATE_TIMEOUT: Final = 600.0
WAIT_TIMEOUT: Final = 900.0
#: How long a submission, or a call to the history, is retried.
SUBMIT_RETRY_TIMEOUT: Final = 20.0

#: Of one client. Fewer make a request no cheaper where the service takes 50 ms or more to respond, and halve what gets
#: through; those that are not needed are not opened.
MAX_CONNECTIONS: Final = 20
#: Seconds after which an idle connection is not used again. Many servers close theirs after 5 s; a submission that is
#: sent at that moment is lost, and nobody knows whether it was accepted.
IDLE_CONNECTION_LIFETIME: Final = 3.0
#: Of one client. Further ones wait in the rate limiter, which knows their priorities, and not for a connection.
MAX_REQUESTS_IN_FLIGHT: Final = MAX_CONNECTIONS
MEGABYTE: Final = 2**20
#: The most images of one result that are read; a job of the default model has 8.
MAX_IMAGES: Final = 16
LARGEST_IMAGE: Final = 32 * MEGABYTE

#: The integers that Airflow can carry from a task to its XComs. A larger one crashes the worker.
INTEGERS: Final = range(-(2**63), 2**64)
