"""Errors as Gmail's API words them."""

from __future__ import annotations

import json

from .http_server import Response

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


class ApiError(Exception):
    """One refusal: HTTP code, text, reason and domain, as they stand in the answer's `error`."""

    def __init__(
        self,
        code: int,
        message: str,
        reason: str,
        domain: str = "global",
        status: str = "",
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.domain = domain
        self.status = status or _STATUS.get(code, "UNKNOWN")
        self.retry_after = retry_after

    def response(self) -> Response:
        """The answer."""
        detail: dict[str, str] = {"message": self.message, "domain": self.domain, "reason": self.reason}
        headers = {}
        if self.code == 401:
            detail |= {"location": "Authorization", "locationType": "header"}
            headers["WWW-Authenticate"] = 'Bearer realm="https://accounts.google.com/", error="invalid_token"'
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        body = {"error": {"code": self.code, "message": self.message, "errors": [detail], "status": self.status}}
        return Response(self.code, json.dumps(body, indent=2).encode(), headers=headers)

    @classmethod
    def minute_quota(cls, limit: str) -> ApiError:
        """The minute quota of a user or of the project."""
        text = (
            f"Quota exceeded for quota metric 'Queries' and limit '{limit}' of service 'gmail.googleapis.com' "
            "for consumer 'project_number:100000000000'."
        )
        return cls(403, text, "rateLimitExceeded", "usageLimits")

    @classmethod
    def exhausted(cls) -> ApiError:
        """A burst."""
        return cls(429, "Resource has been exhausted (e.g. check quota).", "rateLimitExceeded", "global")

    @classmethod
    def concurrent(cls) -> ApiError:
        """Too many requests of one user at the same time."""
        return cls(429, "Too many concurrent requests for user", "rateLimitExceeded", "global")

    @classmethod
    def not_found(cls) -> ApiError:
        """No such entity, or a history cursor that is too old."""
        return cls(404, "Requested entity was not found.", "notFound")

    @classmethod
    def unauthenticated(cls) -> ApiError:
        """An access token that is missing, unknown, expired or revoked."""
        text = (
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
            "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
        )
        return cls(401, text, "authError")

    @classmethod
    def invalid(cls, message: str) -> ApiError:
        """A bad parameter."""
        return cls(400, message, "invalidArgument")
