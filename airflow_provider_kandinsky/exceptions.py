"""Every error that a user of this package may catch, from one import; and ``Billing``, which each of them has.

::

    KandinskyError
    ├── ConfigurationError          the connection cannot be used as it is
    ├── BadRequestError             a parameter is rejected, here or by the service (400, 406)
    ├── AuthenticationError         no API key, or a wrong one (401)
    ├── PermissionDeniedError       the key has no permission for this model (403)
    ├── ModelNotFoundError          no such model (404 on submit)
    ├── MethodNotAllowedError       the URL does not accept this method (405)
    ├── ModelRetiredError           the model is retired (410)
    ├── InsufficientCreditsError    the credits, or the team's limit, are used up (406)
    ├── RateLimitedError            too many requests (429)
    ├── ServiceUnavailableError     the service could not be reached, or failed (5xx, network)
    │   └── InvalidResponseError    its response is not the API's
    ├── SubmissionUnknownError      a POST was sent and its response was lost
    ├── JobError                    about one accepted job
    │   ├── JobFailedError          it ran and failed; not billed
    │   │   ├── JobRejectedError    because of its parameters
    │   │   └── ContentBlockedError because of its content
    │   ├── EmptyResultError        it completed, but its result has no image
    │   ├── IncompleteResultError   fewer of its images are known than were paid for
    │   ├── ImageUnavailableError   an image could not be fetched, for now
    │   ├── ImageRefusedError       an image may not be downloaded, or is not an image
    │   ├── ImageNotStoredError     an image could not be written to the user's storage
    │   ├── JobExpiredError         the service has no record of it
    │   └── JobTimeoutError         it had not finished by the deadline
    ├── ReuseIndexError             it is unknown which images are stored
    ├── BatchItemsFailedError       some items of a batch failed
    ├── CostLimitError              nothing more is submitted because of max_cost
    ├── BudgetExceededError         the connection's daily_budget allows no more today
    └── RequestsChangedError        a batch's requests changed during a try

    AirflowException
    └── LedgerError                 it is unknown what was paid for

An operator or a sensor raises the first of these that it meets, or, if no retry can help, an ``AirflowFailException``
from it. Importing this module imports no client.
"""

from __future__ import annotations

from airflow_provider_kandinsky.batch.errors import BatchItemsFailedError, RequestsChangedError
from airflow_provider_kandinsky.durable.errors import BudgetExceededError, CostLimitError, LedgerError
from airflow_provider_kandinsky.results.errors import ReuseIndexError
from airflow_provider_kandinsky.segmind.errors import (
    AuthenticationError,
    BadRequestError,
    Billing,
    ConfigurationError,
    ContentBlockedError,
    EmptyResultError,
    ImageNotStoredError,
    ImageRefusedError,
    ImageUnavailableError,
    IncompleteResultError,
    InsufficientCreditsError,
    InvalidResponseError,
    JobError,
    JobExpiredError,
    JobFailedError,
    JobRejectedError,
    JobTimeoutError,
    KandinskyError,
    MethodNotAllowedError,
    ModelNotFoundError,
    ModelRetiredError,
    PermissionDeniedError,
    RateLimitedError,
    ServiceUnavailableError,
    SubmissionUnknownError,
)

__all__ = [
    "AuthenticationError",
    "BadRequestError",
    "BatchItemsFailedError",
    "Billing",
    "BudgetExceededError",
    "ConfigurationError",
    "ContentBlockedError",
    "CostLimitError",
    "EmptyResultError",
    "ImageNotStoredError",
    "ImageRefusedError",
    "ImageUnavailableError",
    "IncompleteResultError",
    "InsufficientCreditsError",
    "InvalidResponseError",
    "JobError",
    "JobExpiredError",
    "JobFailedError",
    "JobRejectedError",
    "JobTimeoutError",
    "KandinskyError",
    "LedgerError",
    "MethodNotAllowedError",
    "ModelNotFoundError",
    "ModelRetiredError",
    "PermissionDeniedError",
    "RateLimitedError",
    "RequestsChangedError",
    "ReuseIndexError",
    "ServiceUnavailableError",
    "SubmissionUnknownError",
]
