"""The search index on Elasticsearch (8.x, and 9.x with the 8 client).

Documents have ids of our own and external versions (external_gte), so writing one twice, or late, does no harm. The name
`spec.index` is an alias; behind it is one real index, which `rebuilding` replaces. How entries are written is in
elasticsearch_bulk, what refusals mean in elasticsearch_errors.

Only calls that Elasticsearch has without plugins, scripts or licences are used; readiness is asked by cluster.health.
"""

from __future__ import annotations

import contextlib
import functools
import pathlib
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import elastic_transport
import elasticsearch
import sqlalchemy as sa

from ..transforms.errors import StoreUnavailableError
from . import elasticsearch_documents, search, secret_refs
from .elasticsearch_bulk import BulkWriter, operation
from .elasticsearch_errors import translated
from .search import Hit, IndexedVersion, IndexEntry, IndexUnavailableError, Outcome, Put, SearchQuery

Answer = elastic_transport.ObjectApiResponse[Any]

CHUNK_COUNT = 500
CHUNK_BYTES = 5_000_000
PAGE = 1000
PATIENCE_S = 60.0
REBUILD_HOURS = 24
"""What began to be filled earlier was left behind by a rebuild that was killed; the next one removes it, or `compact`."""
READ_ATTEMPTS = 4
GC_DELETES = "1h"
"""How long the index remembers a delete's version. Elasticsearch's own 60 s are less than a stalled worker may take."""
LEASES_WAIT = 120
"""Seconds; Elasticsearch looks at its leases every 30."""


def _filling(name: str) -> str:
    """The alias by which an index is written while it is being rebuilt; it goes when the index is dropped or done."""
    return f"{name}-filling"


def _may_be_filled(name: str) -> bool:
    """Whether a real index is so young that a rebuild may be filling it."""
    return int(name.rpartition("-")[2]) > (time.time() - REBUILD_HOURS * 3600) * 1_000_000


def _failed(error: IndexUnavailableError) -> list[Outcome]:
    raise error


class ElasticsearchIndex:
    """A `SearchIndex` on an Elasticsearch cluster."""

    def __init__(
        self,
        spec: search.SearchSpec,
        *,
        chunk_count: int = CHUNK_COUNT,
        chunk_bytes: int = CHUNK_BYTES,
        patience_s: float = PATIENCE_S,
        stopped: threading.Event | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """Nothing is asked of the cluster yet.

        Args:
            spec: where it is.
            chunk_count: documents in one request at the most.
            chunk_bytes: bytes in one request at the most; a single longer document goes alone.
            patience_s: how long an answer may take before the request counts as lost.
            stopped: set from outside to end waiting at once.
            chance: for the jitter of waits.
        """
        self._spec = spec
        self._chunk = (chunk_count, chunk_bytes)
        self._patience_s = patience_s
        self._stopped = stopped or threading.Event()
        self._chance = chance or random.Random()  # noqa: S311 (jitter)
        self._target = spec.index
        url = sa.engine.make_url(spec.url)
        options: dict[str, Any] = {"request_timeout": patience_s, "max_retries": 0, "retry_on_timeout": False}
        if spec.secret_ref:
            user, colon, password = secret_refs.resolve(spec.secret_ref).partition(":")
            options.update({"basic_auth": (user, password)} if colon else {"api_key": user})
        if spec.ca_certs:
            if not pathlib.Path(spec.ca_certs).is_file():
                raise StoreUnavailableError(f"search: there is no file {spec.ca_certs} with certificates")
            options["ca_certs"] = spec.ca_certs
        port = url.port or (443 if url.drivername == "https" else 9200)
        host = f"[{url.host}]" if ":" in (url.host or "") else url.host
        self._client = elasticsearch.Elasticsearch(f"{url.drivername}://{host}:{port}/{url.database or ''}", **options)
        self._bulk = BulkWriter(self._client, self._chunk, self._stopped, self._chance)

    def close(self) -> None:
        """Give connections back."""
        self._client.close()

    # --- upkeep --------------------------------------------------------------------------------------------------------
    def ensure(self) -> None:
        """Wait until the cluster answers and make the index and its alias where they are missing.

        Raises:
            StoreUnavailableError: the cluster does not answer, or something else has the alias's name.
        """
        with translated():
            self._client.cluster.health(wait_for_status="yellow", timeout="30s")
            if self._client.indices.exists_alias(name=self._spec.index):
                return
            if self._client.indices.exists(index=self._spec.index):
                raise StoreUnavailableError(f"search: {self._spec.index} is an index; an alias is needed: name another")
            name = self._make(refresh="1s")
            actions = [{"add": {"index": name, "alias": self._spec.index, "is_write_index": True}}]
            try:
                self._client.indices.update_aliases(actions=actions)
            except elasticsearch.ApiError:  # an alias has one write index: somebody else was first
                self._client.indices.delete(index=name)
                if not self._client.indices.exists_alias(name=self._spec.index):
                    raise

    def _make(self, refresh: str, *, filling: bool = False) -> str:
        name = f"{self._spec.index}-{time.time_ns() // 1000}"
        settings = {
            "number_of_shards": self._spec.shards,
            "number_of_replicas": self._spec.replicas,
            "refresh_interval": refresh,
            "gc_deletes": GC_DELETES,
            "merge.policy.expunge_deletes_allowed": 0,  # see compact
        }
        aliases: dict[str, Any] = {_filling(name): {"is_write_index": True}} if filling else {}
        self._client.indices.create(
            index=name, settings=settings, mappings=elasticsearch_documents.MAPPING, aliases=aliases
        )
        return name

    def _behind(self) -> list[str]:
        """The real indexes behind the alias: one, but for a moment."""
        return sorted(self._client.indices.get_alias(name=self._spec.index).body)

    @contextlib.contextmanager
    def rebuilding(self) -> Iterator[ElasticsearchIndex]:
        """A fresh index to fill, which gets the alias when the block ends without error; the old one is deleted then."""
        self.ensure()
        with translated():
            behind = set(self._behind())
            for left in self._real().keys() - behind:  # of a rebuild that did not end
                self._client.indices.delete(index=left, ignore_unavailable=True)
            name = self._make(refresh="-1", filling=True)
        fresh = ElasticsearchIndex(
            self._spec,
            chunk_count=self._chunk[0],
            chunk_bytes=self._chunk[1],
            patience_s=self._patience_s,
            stopped=self._stopped,
            chance=self._chance,
        )
        fresh._target = _filling(name)
        try:
            yield fresh
            with translated():
                self._client.indices.put_settings(index=name, settings={"refresh_interval": "1s"})
                self._client.indices.refresh(index=name)
                self._client.cluster.health(index=name, wait_for_status="yellow", timeout="30s")
                actions: list[dict[str, Any]] = [{"remove_index": {"index": old}} for old in self._behind()]
                actions.append({"add": {"index": name, "alias": self._spec.index, "is_write_index": True}})
                actions.append({"remove": {"index": name, "alias": _filling(name)}})
                self._client.indices.update_aliases(actions=actions)
        except BaseException:  # also Ctrl-C: no half-filled index stays; raised again below
            with contextlib.suppress(StoreUnavailableError), translated():
                self._client.indices.delete(index=name, ignore_unavailable=True)
            raise
        finally:
            fresh.close()

    def _real(self) -> dict[str, set[str]]:
        """Every real index of ours, the one that is being filled too, with its aliases.

        Not those of an alias whose name only begins like ours: a rebuild would remove them.
        """
        pattern = f"{self._spec.index}-*"
        answer = self._read(lambda: self._client.indices.get(index=pattern, features="aliases"), patient=True)
        ours = re.compile(rf"{re.escape(self._spec.index)}-\d+")
        return {name: set(found["aliases"]) for name, found in answer.items() if ours.fullmatch(name)}

    def refresh(self) -> None:
        """Make everything written so far visible to `search` and `scan`."""
        with translated():
            self._client.indices.refresh(index=self._target)

    def compact(self) -> None:
        """Rewrite every segment that holds deleted documents, and give the old files and the log back. Takes half a minute.

        Elasticsearch keeps deleted documents, merged or not, for copies that may come back ("history retention leases",
        12 hours); so the leases are let run out first. A copy that was away meanwhile is then copied as a whole. What a killed
        rebuild left behind is removed, for no delete reaches it any more.

        Raises:
            StoreUnavailableError: no answer, or the leases did not run out within LEASES_WAIT; `rebuilding` is the way then.
        """
        client = self._client.options(request_timeout=3600)
        period = "index.soft_deletes.retention_lease.period"
        with translated():
            for left, aliases in self._real().items():
                if self._spec.index not in aliases and not _may_be_filled(left):
                    client.indices.delete(index=left, ignore_unavailable=True)
            newest = max((at for at, _ in self._history()), default=-1)
            client.indices.put_settings(index=self._target, settings={period: "1s"})
        try:
            with translated():
                for _ in range(LEASES_WAIT):
                    if all(kept > newest for _, kept in self._history()) or self._stopped.wait(1):
                        break
                else:
                    raise StoreUnavailableError(
                        "search index: history is still held; rebuild it to drop what was deleted"
                    )
                client.indices.flush(index=self._target, force=True, wait_if_ongoing=True)
                client.indices.forcemerge(index=self._target, only_expunge_deletes=True)
                client.indices.flush(index=self._target, force=True, wait_if_ongoing=True)
        finally:
            with translated():
                client.indices.put_settings(index=self._target, settings={period: None})

    def _history(self) -> list[tuple[int, int]]:
        """Of each copy of each shard: the newest operation's number, and the oldest that a lease keeps."""
        answer = self._client.indices.stats(index=self._target, level="shards", metric="docs")
        copies = [copy for found in answer["indices"].values() for shard in found["shards"].values() for copy in shard]
        return [
            (
                copy["seq_no"]["max_seq_no"],
                min((lease["retaining_seq_no"] for lease in copy["retention_leases"]["leases"]), default=0),
            )
            for copy in copies
        ]

    # --- writing -------------------------------------------------------------------------------------------------------
    def put(self, entries: Sequence[IndexEntry]) -> list[Outcome]:
        """Write entries in chunks (see elasticsearch_bulk); what became of each, in order.

        Raises:
            IndexUnavailableError: some entries are not written: no answer, load or a write block, to the end of patience.
        """
        return self.prepare(entries)()

    def prepare(self, entries: Iterable[IndexEntry]) -> Put:
        """Encode the entries, and ask who is filling a fresh index: after what they say was read, and before it is written."""
        operations = [operation(entry) for entry in entries]
        if not operations or self._target != self._spec.index:
            return functools.partial(self._bulk.write, operations, self._target)
        try:
            return functools.partial(self._put, operations, self._filling())
        except IndexUnavailableError as error:
            return functools.partial(_failed, error)

    def _put(self, operations: Sequence[bytes], filling: Sequence[str]) -> list[Outcome]:
        outcomes = self._bulk.write(operations, self._target)
        for alias in filling:  # what takes the old index's place must not lack this, nor bring back what is deleted now
            try:
                self._bulk.write(operations, alias)
            except IndexUnavailableError:
                with translated():
                    if self._client.indices.exists_alias(name=alias):
                        raise
                outcomes = self._bulk.write(
                    operations, self._target
                )  # the rebuild has ended meanwhile, and answers now
        return outcomes

    def _filling(self) -> list[str]:
        """The aliases of indexes that a rebuild is filling now."""
        try:
            found = [name for name, aliases in self._real().items() if _filling(name) in aliases]
        except StoreUnavailableError as error:
            raise IndexUnavailableError(str(error)) from None
        return [_filling(name) for name in found if _may_be_filled(name)]

    # --- reading -------------------------------------------------------------------------------------------------------
    def search(self, team_id: str, query: SearchQuery) -> list[Hit]:
        """What this team's mail holds: best first where text is asked for, else newest first.

        Raises:
            StoreUnavailableError: no answer.
        """
        body = elasticsearch_documents.search_body(team_id, query)
        answer = self._read(lambda: self._client.search(index=self._target, **body))
        hits = []
        for found in answer["hits"]["hits"]:
            marked = [
                (field, text) for field in ("subject", "text") for text in found.get("highlight", {}).get(field, ())
            ]
            hits.append(search.hit(found["_source"], found["_score"] or 0.0, marked))
        return hits

    def _read(self, ask: Callable[[], Answer], *, patient: bool = False) -> Answer:
        """The answer. A question that meets the moment in which a rebuild takes the old index away is asked again.

        With `patient` also one that got no answer.
        """
        with translated():
            for left in reversed(range(READ_ATTEMPTS)):
                try:
                    answer = ask()
                except elasticsearch.ApiError as error:
                    if error.status_code not in {404, 503} or not left:
                        raise
                except elastic_transport.TransportError:
                    if not patient or not left:
                        raise
                else:
                    if not left or not any("error" in found for found in answer.get("docs", ())):
                        return answer
                if self._stopped.wait(0.1 * self._chance.uniform(0.5, 1.0)):
                    raise StoreUnavailableError("search: stopped")
        raise AssertionError  # the last attempt returns or raises

    def scan(self, team_id: str | None = None) -> Iterator[IndexedVersion]:
        """All engagements (of one team) in order of (team_id, engagement_id), as of the start, a page at a time.

        Raises:
            StoreUnavailableError: no answer.
        """
        self.refresh()
        with translated():
            pit = self._client.open_point_in_time(index=self._target, keep_alive="5m")["id"]
        try:
            after: list[Any] | None = None
            while True:
                with translated():
                    answer = self._client.search(
                        pit={"id": pit, "keep_alive": "5m"},
                        query=elasticsearch_documents.filtered(
                            [{"term": {"team_id": team_id}}] if team_id is not None else []
                        ),
                        sort=[{"team_id": "asc"}, {"engagement_id": "asc"}],
                        search_after=after,
                        size=PAGE,
                        version=True,
                        source=False,
                        fields=[{"field": "digest"}],
                        track_total_hits=False,
                    )
                pit, page = answer["pit_id"], answer["hits"]["hits"]
                for found in page:
                    stored = found.get("fields", {}).get("digest", [""])[0]
                    yield IndexedVersion(found["sort"][0], found["sort"][1], found["_version"], stored)
                if len(page) < PAGE:
                    return
                after = page[-1]["sort"]
        finally:
            with contextlib.suppress(elasticsearch.ApiError, elastic_transport.TransportError):
                self._client.close_point_in_time(id=pit)

    def lookup(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], IndexedVersion]:
        """What the index holds this moment of these (team_id, engagement_id).

        Raises:
            StoreUnavailableError: no answer.
        """
        if not keys:
            return {}
        ids = [elasticsearch_documents.document_id(*key) for key in keys]
        answer = self._read(
            lambda: self._client.mget(index=self._target, ids=ids, source_includes=["digest"], realtime=True)
        )
        if any("error" in found for found in answer["docs"]):
            raise StoreUnavailableError("search: some documents could not be looked up")
        return {
            key: IndexedVersion(*key, found["_version"], found["_source"]["digest"])
            for key, found in zip(keys, answer["docs"], strict=True)
            if found.get("found")
        }
