"""What Elasticsearch's refusals mean, in our words: never a server's own, which may quote a document."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import elastic_transport
import elasticsearch

from ..transforms.errors import StoreUnavailableError
from .search import DONE, STALE, Outcome


class RetryError(Exception):
    """Some items have to be sent again. `blocked`: no use before somebody acts."""

    def __init__(self, reason: str, *, blocked: bool = False) -> None:
        super().__init__(reason)
        self.blocked = blocked


class AliasMissingError(RetryError):
    """There was no index behind the alias: nobody has made one, or a rebuild has just given the alias to another."""


def judge_item(status: int, error: Mapping[str, Any] | str | None) -> Outcome:
    """What became of one bulk item, by its HTTP status and its error's type.

    Raises:
        RetryError: it was not written and has to be sent again.
    """
    kind = str(error.get("type", "")) if isinstance(error, Mapping) else ""
    if 200 <= status < 300 or (status == 404 and not error):  # the latter: deleted what was not there
        return DONE
    if status == 409:
        return STALE
    if kind == "cluster_block_exception" and isinstance(error, Mapping):
        raise RetryError(block_in_words(str(error.get("reason", ""))), blocked=True)
    if status == 404:  # index_not_found_exception: the alias is not there
        raise AliasMissingError("search index: the alias is missing; run `dealmail index rebuild`", blocked=True)
    if status == 429 or status >= 500:
        raise RetryError(f"search index: {status} {kind}")
    return Outcome("refused", (kind or f"status_{status}")[:64])


def block_in_words(reason: str) -> str:
    """A cluster block in our words. Its number says which (org.elasticsearch.cluster.metadata.IndexMetadata)."""
    if "/12/" in reason:
        return "search index is read-only: its disk is over the flood-stage watermark; free space, it lifts the block itself"
    return "search index refuses writes: somebody set a block on it (index.blocks.*)"


def kind_of(error: elasticsearch.ApiError) -> str:
    """The error's type as Elasticsearch names it; never its reason, which may quote a document."""
    body = error.body
    inner = body.get("error") if isinstance(body, Mapping) else None
    return str(inner.get("type", "")) if isinstance(inner, Mapping) else ""


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """What the client raises, as StoreUnavailableError."""
    try:
        yield
    except elasticsearch.ApiError as error:
        kind = kind_of(error)
        if kind == "media_type_header_exception":
            text = "search: this server does not talk to the Elasticsearch 8 client; use Elasticsearch 8 or 9"
        elif kind == "cluster_block_exception":
            text = block_in_words(str(error.body))
        else:
            text = f"search: HTTP {error.status_code} {kind}"
        raise StoreUnavailableError(text) from None
    except elastic_transport.TransportError as error:
        raise StoreUnavailableError(f"search: {type(error).__name__}") from None
