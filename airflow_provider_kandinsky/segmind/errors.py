"""The errors of the service, by type; :mod:`~airflow_provider_kandinsky.exceptions` draws the tree.

Messages are written for the person on call: what happened, to which request, whether money may have been spent. None
of them holds the API key: :mod:`~.http.call` redacts it from every response before it is read, and no error is raised
from an exception that holds a request.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Billing(StrEnum):
    """Whether the call that failed may have cost money."""

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"


class KandinskyError(Exception):
    """The base class of all errors of the service.

    :param message: one or two sentences for a person.
    :param http_status: the status of the response, if there was one.
    :param request_id: the job, if it is known.
    :param billing: whether money may have been spent, if it differs from the type's default.
    """

    #: Whether the same call, made again later without any change, can succeed.
    retryable: bool = False
    #: Whether money may have been spent.
    billing: Billing = Billing.NO
    #: Whether this error only summarizes others.
    aggregates_errors: bool = False
    #: Of a timeout: whether the last poll was refused for a reason that concerns all jobs of the account.
    concerns_account: bool = False
    #: What it knows beside the arguments of its constructor.
    own_fields: frozenset[str] = frozenset()
    #: What a retry will do, if the caller knows.
    retry_hint: str = ""

    def __init__(
        self,
        message: str,
        *,
        http_status: int | None = None,
        request_id: str | None = None,
        billing: Billing | str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.http_status = http_status
        self.request_id = request_id
        if billing is not None:
            self.billing = Billing(billing)

    def __str__(self) -> str:
        facts = []
        if self.request_id is not None:
            facts.append(f"request {self.request_id}")
        if self.http_status is not None:
            facts.append(f"HTTP {self.http_status}")
        facts.append(f"billed: {self.billing}")
        return f"{self.message} [{', '.join(facts)}] {self.retry_hint}".rstrip()

    def redact(self, secret: str) -> None:
        """Remove a secret from the message."""
        self.message = self.message.replace(secret, "***")
        self.args = (self.message,)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a trigger's event; ``error_from_dict`` is the inverse."""
        values = {
            "type": type(self).__name__,
            "message": self.message,
            "http_status": self.http_status,
            "request_id": self.request_id,
            "billing": str(self.billing),
            "retryable": self.retryable,
        }
        if self.concerns_account:
            values["concerns_account"] = True
        return values | {name: getattr(self, name) for name in self.own_fields}


class ConfigurationError(KandinskyError):
    """The connection cannot be used as it is: a malformed or insecure base URL, an unusable field."""


class BadRequestError(KandinskyError):
    """A parameter is rejected: by this package before anything is sent, or by the service (400, some 406)."""


class AuthenticationError(KandinskyError):
    """There is no API key, or the service does not accept it (401)."""


class PermissionDeniedError(KandinskyError):
    """The API key is valid, but has no permission for this model (403)."""


class ModelNotFoundError(KandinskyError):
    """The service has no model of that name (404 on submit)."""


class MethodNotAllowedError(KandinskyError):
    """The URL exists but does not accept this method (405): a wrong base URL or slug."""


class ModelRetiredError(KandinskyError):
    """The model is retired (410)."""


class InsufficientCreditsError(KandinskyError):
    """The account's credits, or a team's spending limit, are used up (406)."""


class RateLimitedError(KandinskyError):
    """Too many requests (429). Nothing was accepted.

    :param retry_after: seconds to wait, from the service's Retry-After; ``None`` if there was none.
    """

    retryable = True
    own_fields = frozenset({"retry_after"})

    def __init__(self, message: str, *, retry_after: float | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after = retry_after


class ServiceUnavailableError(KandinskyError):
    """The service could not be reached, or a free call got a 5xx. Never raised for a POST that may have arrived: that
    is :class:`SubmissionUnknownError`."""

    retryable = True


class InvalidResponseError(ServiceUnavailableError):
    """The response to a free call is not the API's: HTML, broken JSON, a missing field."""


class SubmissionUnknownError(KandinskyError):
    """A POST was sent and its outcome is unknown: a reset, a read timeout, a 5xx, an unreadable response.

    It may have been accepted and billed. The client never sends it again, because that could pay twice.
    """

    billing = Billing.MAYBE


class JobError(KandinskyError):
    """An error about one accepted job; ``request_id`` is set for all but the v1 call, which has none."""


class JobFailedError(JobError):
    """The job ran and failed. The service does not bill failed jobs, and another submission may succeed."""

    retryable = True


class JobRejectedError(JobFailedError):
    """The job failed because of a parameter that the service rejected only while running it."""

    retryable = False


class ContentBlockedError(JobFailedError):
    """The job failed because the service blocks this content."""

    retryable = False


class JobExpiredError(JobError):
    """The service has no record of the job: records are kept for one hour after submission. If the job completed, its
    image was paid for and may still be in the request history."""

    retryable = True
    billing = Billing.MAYBE


class EmptyResultError(JobError):
    """The job is COMPLETED and billed, but no image was found in its result."""

    billing = Billing.YES


class IncompleteResultError(JobError):
    """The job is billed, but the request history has fewer images than were requested. A retry is free."""

    retryable = True
    billing = Billing.YES


class ImageUnavailableError(JobError):
    """A paid image could not be fetched from its URL, for now."""

    retryable = True
    billing = Billing.YES


class ImageRefusedError(JobError):
    """A paid image is not downloaded: its host is not allowed, it is too large, or it is not an image."""

    billing = Billing.YES


class ImageNotStoredError(JobError):
    """A paid image could not be written to the user's storage."""

    retryable = True
    billing = Billing.YES


class JobTimeoutError(JobError):
    """The job had not finished by the deadline. It may still be running, and will then be billed."""

    retryable = True
    billing = Billing.MAYBE


def _types_by_name(root: type[KandinskyError]) -> dict[str, type[KandinskyError]]:
    types = {root.__name__: root}
    for subclass in root.__subclasses__():
        types |= _types_by_name(subclass)
    return types


def error_from_dict(values: dict[str, Any]) -> KandinskyError:
    """The inverse of :meth:`KandinskyError.to_dict`.

    A type that this version does not know (written by a newer one) becomes a plain :class:`KandinskyError`; fields
    that it does not know are ignored.
    """
    error_type = _types_by_name(KandinskyError).get(values.get("type", ""), KandinskyError)
    if values.get("billing") not in tuple(Billing):
        values = {name: value for name, value in values.items() if name != "billing"}
    known = {"http_status", "request_id", "billing", *error_type.own_fields}
    error = error_type(
        values.get("message", "unknown error"), **{name: values[name] for name in known if name in values}
    )
    # An instance may differ from its type, and an unknown type has no default of its own.
    for name in ("retryable", "concerns_account"):
        if isinstance(value := values.get(name), bool) and value != getattr(error, name):
            setattr(error, name, value)
    return error
