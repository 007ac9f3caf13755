"""Every way a request can end without an answer: one tree, one table.

RouterError
├── Refused            a rule, a limit or the caller's own request stands in the way (logged as a warning)
├── UpstreamFailed     the provider answered badly or not at all
└── Unavailable        a part of ours that must be up is not

`CODES` is the refusal table of the README: code → status, whether the official SDKs should retry.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Row(NamedTuple):
    """One row of the refusal table."""

    status: int
    type: str  # `error.type` in the body
    retry: bool  # False: `x-should-retry: false` is sent


CODES: dict[str, Row] = {
    "invalid_request": Row(400, "invalid_request_error", False),
    "unknown_parameter": Row(400, "invalid_request_error", False),
    "context_length_exceeded": Row(400, "invalid_request_error", False),
    "no_capable_deployment": Row(400, "invalid_request_error", False),
    "invalid_api_key": Row(401, "authentication_error", False),
    "key_expired": Row(401, "authentication_error", False),
    "invalid_signature": Row(401, "authentication_error", False),
    "session_budget_exceeded": Row(402, "budget_error", False),
    "owner_budget_exceeded": Row(402, "budget_error", False),
    "purpose_not_permitted": Row(403, "permission_error", False),
    "not_permitted_by_rule": Row(403, "permission_error", False),
    "sensitivity_not_permitted": Row(403, "permission_error", False),
    "no_cleared_deployment": Row(403, "permission_error", False),
    "tool_not_entitled": Row(403, "permission_error", False),
    "tool_combination_prohibited": Row(403, "permission_error", False),
    "approval_required": Row(403, "permission_error", False),
    "role_required": Row(403, "permission_error", False),
    "change_not_allowed": Row(403, "permission_error", False),
    "loop_detected": Row(403, "permission_error", False),
    "session_ended": Row(403, "permission_error", False),
    "inference_ended": Row(403, "permission_error", False),
    "model_not_found": Row(404, "invalid_request_error", False),
    "response_not_found": Row(404, "invalid_request_error", False),
    "not_found": Row(404, "invalid_request_error", False),
    "unknown_path": Row(404, "invalid_request_error", False),
    "method_not_allowed": Row(405, "invalid_request_error", False),
    "session_changed": Row(409, "conflict_error", True),
    "approval_closed": Row(409, "conflict_error", False),
    "rules_changed": Row(409, "conflict_error", False),
    "month_held_up": Row(409, "conflict_error", False),
    "request_too_large": Row(413, "invalid_request_error", False),
    "rate_limit_exceeded": Row(429, "rate_limit_error", True),
    "internal_error": Row(500, "server_error", True),
    "upstream_error": Row(502, "upstream_error", True),
    "upstream_truncated": Row(502, "upstream_error", True),
    "store_unavailable": Row(503, "server_error", True),
    "classifier_unavailable": Row(503, "server_error", True),
    "not_ready": Row(503, "server_error", True),
    "upstream_timeout": Row(504, "upstream_error", True),
}


MESSAGES_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""Status → `error.type` in the words of Anthropic's Messages API."""


class RouterError(Exception):
    """Carries the public sentence and the table's code; `param` names the field at fault, `detail` goes to evidence only.

    `rule` is the rule that decided, `retry_after` seconds for a Retry-After header. `details` stand beside the four fields of the body:
    what is missing, for a program to read.
    """

    log_level = "error"

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        rule: str | None = None,
        retry_after: float | None = None,
        detail: str = "",
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.row = CODES[code]
        self.code = code
        self.message = message
        self.param = param
        self.rule = rule
        self.retry_after = retry_after
        self.detail = detail
        self.details = details or {}

    def body(self) -> dict[str, dict[str, Any]]:
        """OpenAI's error body."""
        told = {"message": self.message, "type": self.row.type, "param": self.param, "code": self.code}
        return {"error": {**told, **self.details}}

    def messages_body(self, request_id: str = "") -> dict[str, object]:
        """Anthropic's error body, with our code and field inside. That wire names errors by their status alone."""
        kind = MESSAGES_TYPES.get(self.row.status, "api_error")
        told = {"type": kind, "message": self.message, "code": self.code, "param": self.param}
        return {"type": "error", "error": {**told, **self.details}, "request_id": request_id or None}


class Refused(RouterError):
    """A rule, a limit or the request itself stands in the way."""

    log_level = "warning"


class UpstreamFailed(RouterError):
    """The provider failed. `transient`: another candidate may be tried; `cool_down`: the deployment should rest.

    `sent` says whether the provider may have started to work on the request (and so to bill it).
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        transient: bool = False,
        cool_down: bool = False,
        sent: bool = True,
        param: str | None = None,
        retry_after: float | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(code, message, param=param, retry_after=retry_after, detail=detail)
        self.transient = transient
        self.cool_down = cool_down
        self.sent = sent


class Unavailable(RouterError):
    """A part of ours that must be up is not."""
