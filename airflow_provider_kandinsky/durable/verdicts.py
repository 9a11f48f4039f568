"""The errors that say why nothing is submitted or delivered, although the history was asked."""

from __future__ import annotations

from airflow_provider_kandinsky.durable.policy import History, Step
from airflow_provider_kandinsky.durable.reconciliation import Finding
from airflow_provider_kandinsky.segmind.errors import (
    Billing,
    IncompleteResultError,
    JobTimeoutError,
    KandinskyError,
    SubmissionUnknownError,
    error_from_dict,
)


def unknown_error(finding: Finding) -> SubmissionUnknownError:
    """Why it is not known whether an earlier try was accepted."""
    reason = finding.error.message if finding.error is not None else f"it says: {finding.history}"
    unknown = SubmissionUnknownError(
        f"An earlier try may have submitted this, and the request history cannot tell: {reason}. "
        'Set history_url in the connection, or on_unknown_submit="resubmit" to risk paying twice'
    )
    # Asking again later costs nothing.
    unknown.retryable = finding.error is not None and finding.error.retryable
    unknown.__cause__ = finding.error
    return unknown


def expired_error(step: Step, finding: Finding, request_id: str, samples: int) -> KandinskyError:
    """Why nothing is done about a job that the service does not know.

    :param step: what the policy says is to be done.
    :param samples: how many images were asked for.
    """
    if step is Step.INCOMPLETE:
        images = len(finding.row.images) if finding.row else 0
        return IncompleteResultError(
            f"The job has expired, and the request history has {images} of its {samples} images", request_id=request_id
        )
    if step is Step.WAIT:
        return JobTimeoutError(
            "The job has expired, and the request history says that it is not finished", request_id=request_id
        )
    if finding.error is not None:
        error = error_from_dict(finding.error.to_dict())  # it may be the reason for other jobs, too
        error.__cause__ = finding.error
        error.message = f"The service does not know the job, and the request history says: {error.message}"
        error.request_id, error.billing = request_id, Billing.MAYBE
        return error
    unknown = SubmissionUnknownError(
        "The service does not know the job, and the connection has no request history to ask. "
        'Set history_url in the connection, or on_unknown_submit="resubmit" to risk paying twice',
        request_id=request_id,
    )
    unknown.retryable = finding.history is not History.NOT_CONFIGURED
    return unknown
