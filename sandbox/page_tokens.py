"""The opaque tokens in Gmail's answers: what the server has to know again, packed, so that it keeps nothing between two calls."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from typing import Any

from .api_error import ApiError
from .mailbox import Message
from .payload import AttachmentToken


def _pack(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode("ascii").rstrip("=")


def _unpack(token: str, what: str) -> Any:
    try:
        return json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, binascii.Error):
        raise ApiError.invalid(f"Invalid {what}") from None


def list_token(last: Message, context: str) -> str:
    """Where a list goes on: below `last`; good for the same question (`context`) only."""
    return _pack([last.internal_date, last.id, binascii.crc32(context.encode())])


def open_list_token(token: str, context: str) -> tuple[int, str] | None:
    """(internal date, id) of the last message that was listed; None without a token.

    Raises:
        ApiError: not a token of this question.
    """
    if not token:
        return None
    value = _unpack(token, "pageToken")
    if not isinstance(value, list) or len(value) != 3 or value[2] != binascii.crc32(context.encode()):
        raise ApiError.invalid("Invalid pageToken")
    return int(value[0]), str(value[1])


def history_token(start: int, after: int, until: int, *, skip_empty: bool = False) -> str:
    """Where a history from `start` goes on: after record `after`, up to `until`; `skip_empty`: an empty page was given already."""
    return _pack([start, after, until, int(skip_empty)])


def open_history_token(token: str, start: int) -> tuple[int, bool, int]:
    """(after, skip_empty, until) of a token.

    Raises:
        ApiError: not a token of a history from `start`.
    """
    value = _unpack(token, "pageToken")
    if not isinstance(value, list) or len(value) != 4 or value[0] != start:
        raise ApiError.invalid("Invalid pageToken")
    return int(value[1]), bool(value[3]), int(value[2])


def attachment_tokens(gmail_id: str) -> AttachmentToken:
    """A new token at every fetch, as Gmail gives."""
    return lambda part_id: "ANGjdJ" + _pack([gmail_id, part_id, secrets.token_hex(8)])


def open_attachment_token(token: str, gmail_id: str) -> str:
    """The id of the part that a token stands for.

    Raises:
        ApiError: not a token of this message.
    """
    value = _unpack(token.removeprefix("ANGjdJ"), "attachment token")
    if not isinstance(value, list) or len(value) != 3 or value[0] != gmail_id:
        raise ApiError.invalid("Invalid attachment token")
    return str(value[1])
