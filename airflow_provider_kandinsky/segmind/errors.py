"""What can go wrong with the service, told apart by type.

::

    KandinskyError
    ├── ConfigurationError          the connection cannot work as it is
    ├── BadRequestError             a parameter is refused, here or by the service (400, 406)
    ├── AuthenticationError         no key, or a bad one (401)
    ├── PermissionDeniedError       the key may not use this model (403)
    ├── ModelNotFoundError          no such model (404 on submit)
    ├── MethodNotAllowedError       the URL does not take this call (405)
    ├── ModelRetiredError           the model is gone for good (410)
    ├── InsufficientCreditsError    the account, or the team's limit, is used up (406)
    ├── RateLimitedError            too many requests (429); retry_after says how long
    ├── ServiceUnavailableError     the service could not be reached or is out of order (5xx, network)
    │   └── InvalidResponseError    it answered with something that is not the API
    ├── SubmissionUnknownError      a POST was sent and its answer was lost
    └── JobError                    about one accepted job
        ├── JobFailedError          it ran and failed; not billed
        │   ├── JobRejectedError    because of its parameters
        │   └── ContentBlockedError because of its content
        ├── EmptyResultError        it is finished, but there is no picture in its result
        ├── IncompleteResultError   fewer of its images are known than were paid for
        ├── ImageUnavailableError   its picture could not be fetched
        ├── ImageRefusedError       its picture may not be fetched, or is none
        ├── ImageNotStoredError     its picture could not be written to the user's storage
        ├── JobExpiredError         the service does not know it, or no longer
        └── JobTimeoutError         it was not finished by the deadline

Messages are written for the one who is on call: what happened, to which request, whether money may have been
spent. None of them ever holds the API key: :mod:`~airflow_provider_kandinsky.segmind.http.client` takes it out of every
answer before it is read, and no error here is raised from an exception that holds a request.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Billing(StrEnum):
    """Whether the call that failed may have cost something."""

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"


class KandinskyError(Exception):
    """The root of the tree.

    :param message: one or two sentences for a person.
    :param http_status: the status of the answer, if one came.
    :param request_id: the job it is about, if one is known.
    :param billing: whether money may have been spent, where the type alone does not tell.
    """

    #: Whether the same call, made again later without any change, can succeed.
    retryable: bool = False
    #: Whether money may have been spent on what failed.
    billing: Billing = Billing.NO
    #: Whether it only sums up other errors.
    aggregates_errors: bool = False
    #: What a retry will do, as far as the caller has said so.
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

    def hide(self, secret: str) -> None:
        """Take a secret out of the message."""
        self.message = self.message.replace(secret, "***")
        self.args = (self.message,)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a trigger's event; :func:`error_from_dict` is the way back."""
        return {
            "type": type(self).__name__,
            "message": self.message,
            "http_status": self.http_status,
            "request_id": self.request_id,
            "billing": str(self.billing),
            "retryable": self.retryable,
        }


class ConfigurationError(KandinskyError):
    """The connection cannot work as it is: a malformed or insecure base URL, an unusable field."""


class BadRequestError(KandinskyError):
    """A parameter is refused: by this package before anything is sent, or by the service (400, some 406)."""


class AuthenticationError(KandinskyError):
    """There is no API key, or the service does not accept it (401)."""


class PermissionDeniedError(KandinskyError):
    """The key is good, but not for this model (403)."""


class ModelNotFoundError(KandinskyError):
    """The service knows no model of that name (404 on submit)."""


class MethodNotAllowedError(KandinskyError):
    """The URL exists but does not take this call (405): a wrong base URL or slug."""


class ModelRetiredError(KandinskyError):
    """The model was taken out of service (410)."""


class InsufficientCreditsError(KandinskyError):
    """The account's credits, or a team's spending limit, are used up (406)."""


class RateLimitedError(KandinskyError):
    """Too many requests (429). Nothing was accepted.

    :param retry_after: seconds to wait as told by the service, ``None`` if it did not say.
    """

    retryable = True

    def __init__(
        self,
        message: str,
        *,
        http_status: int | None = None,
        request_id: str | None = None,
        billing: Billing | str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, http_status=http_status, request_id=request_id, billing=billing)
        self.retry_after = retry_after

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"retry_after": self.retry_after}


class ServiceUnavailableError(KandinskyError):
    """The service could not be reached, or answered a free call with 5xx. Never raised for a POST that may have
    arrived: that is :class:`SubmissionUnknownError`."""

    retryable = True


class InvalidResponseError(ServiceUnavailableError):
    """A free call was answered with something that is not the API: HTML, broken JSON, a missing field."""


class SubmissionUnknownError(KandinskyError):
    """A POST was sent and what became of it is not known: a reset, a read timeout, a 5xx, an unreadable answer.

    It may have been accepted and billed. Sending it again would risk paying twice, so the client never does.
    """

    billing = Billing.MAYBE


class JobError(KandinskyError):
    """About one accepted job; ``request_id`` is set for all but the v1 call, which is not told it."""


class JobFailedError(JobError):
    """The job ran and failed. The service does not bill failed jobs, and another try may work."""

    retryable = True


class JobRejectedError(JobFailedError):
    """The job failed because of a parameter that the service noticed only while running it."""

    retryable = False


class ContentBlockedError(JobFailedError):
    """The job failed because the service will not paint this content."""

    retryable = False


class JobExpiredError(JobError):
    """The service does not know the job: records go one hour after submission. Its picture was paid for, if the
    job ever finished, and may still be found in the request history."""

    retryable = True
    billing = Billing.MAYBE


class EmptyResultError(JobError):
    """The job is COMPLETED and billed, and its result holds no picture that this package can find."""

    billing = Billing.YES


class IncompleteResultError(JobError):
    """The job is billed, and the request history tells of fewer images than were asked for. Asking again is free."""

    retryable = True
    billing = Billing.YES


class ImageUnavailableError(JobError):
    """A picture that was paid for could not be fetched from its URL, for now."""

    retryable = True
    billing = Billing.YES


class ImageRefusedError(JobError):
    """A picture that was paid for is not taken: it is at a host that is not allowed, too large, or no picture."""

    billing = Billing.YES


class ImageNotStoredError(JobError):
    """A picture that was paid for could not be written to the user's storage."""

    retryable = True
    billing = Billing.YES


class JobTimeoutError(JobError):
    """The job was not finished by the deadline. It may still be running, and will then be billed."""

    retryable = True
    billing = Billing.MAYBE


def _tree(root: type[KandinskyError]) -> dict[str, type[KandinskyError]]:
    types = {root.__name__: root}
    for branch in root.__subclasses__():
        types |= _tree(branch)
    return types


def error_from_dict(values: dict[str, Any]) -> KandinskyError:
    """Bring back an error from :meth:`KandinskyError.to_dict`.

    A type that this version does not know (written by a newer one) becomes a plain :class:`KandinskyError`, and
    fields that it does not know are left out.
    """
    error_type = _tree(KandinskyError).get(values.get("type", ""), KandinskyError)
    if values.get("billing") not in tuple(Billing):
        values = {name: value for name, value in values.items() if name != "billing"}
    known = {"http_status", "request_id", "billing"} | (
        {"retry_after"} if issubclass(error_type, RateLimitedError) else set()
    )
    error = error_type(
        values.get("message", "unknown error"), **{name: values[name] for name in known if name in values}
    )
    # Of a lost submission and of a type that is not known here, the type alone does not tell.
    if isinstance(retryable := values.get("retryable"), bool) and retryable != error.retryable:
        error.retryable = retryable
    return error
