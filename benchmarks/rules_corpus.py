"""The checked mails of automated_eval.tsv, read the way the job reads mail: raw bytes, Gmail's resource, normalize, text.

The corpora are found through the environment variable DEALMAIL_CORPORA (the unpacked folder; the table lies in it or beside
it). Every mail is taken as inbound, its author as unknown to the CRM and never written to: the rules stand alone. Gmail's
category labels are taken away, for there the gold is the label.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Iterator

from dealmail.sandbox import payload
from dealmail.transforms.automated_evidence import Evidence
from dealmail.transforms.normalize_messages import normalize
from dealmail.transforms.plain_text import read_text
from dealmail.transforms.records import ClaimedMessage, FetchedMessage, NormalizedMessage

CLAIM = ClaimedMessage("t", "m0", "g0", "lease", "owner@own.example")


@dataclasses.dataclass(frozen=True)
class Case:
    """One row with its mail. `gold` is KEEP, DROP or "-"; `source` the corpus; `group` the sender group."""

    path: str
    gold: str
    kind: str
    group: str
    split: str
    message: NormalizedMessage
    evidence: Evidence

    @property
    def source(self) -> str:
        """The corpus the mail is from."""
        return self.path.split("/")[0].split("#")[0]

    @property
    def has_real_headers(self) -> bool:
        """Whether the mail came with its transport headers, the bounce corpus left aside."""
        return self.source not in {
            "enron-5users",
            "enron-spam-raw-ham",
            "mxhero-synth",
            "sisimai",
            "postmark-templates",
        }


def corpora() -> pathlib.Path:
    """The unpacked corpora.

    Raises:
        SystemExit: DEALMAIL_CORPORA does not name them.
    """
    folder = pathlib.Path(os.environ.get("DEALMAIL_CORPORA", ""))
    if not (folder / "labels.tsv").is_file():
        raise SystemExit("DEALMAIL_CORPORA must name the folder with the unpacked corpora (labels.tsv lies in it)")
    return folder


def table() -> pathlib.Path:
    """automated_eval.tsv: in the corpora, beside them, or where DEALMAIL_EVAL says."""
    places = [pathlib.Path(os.environ["DEALMAIL_EVAL"])] if "DEALMAIL_EVAL" in os.environ else []
    places += [folder / "automated_eval.tsv" for folder in (corpora(), corpora().parent)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise SystemExit("automated_eval.tsv is neither in DEALMAIL_CORPORA nor beside it; name it in DEALMAIL_EVAL")
    return found


def fetched(path: str) -> FetchedMessage:
    """The mail at `path` (as the table writes it) as the job would get it from Gmail."""
    name, _, message_id = path.partition("#")
    if message_id:
        answer = dict(_recorded()[message_id])
    else:
        raw = (corpora() / name).read_bytes()
        if name.endswith(".html"):
            raw = b"Content-Type: text/html; charset=utf-8\r\n\r\n" + raw
        answer = {
            "id": "g0",
            "internalDate": "1000000000000",
            "payload": payload.resource(payload.parse(raw), lambda part: part),
        }
    answer["labelIds"] = ["INBOX"]
    return FetchedMessage(CLAIM, json.dumps(answer).encode())


@functools.cache
def _recorded() -> dict[str, dict]:
    answers = json.loads((corpora() / "gmail_api_metadata.json").read_text("utf-8"))
    return {answer["id"]: answer for answer in answers}


def cases(split: str) -> Iterator[Case]:
    """All rows of `split` (dev or test)."""
    with table().open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row["split"] == split:
                message = normalize(fetched(row["path"]))
                evidence = Evidence.of(message, read_text(message.payload))
                yield Case(row["path"], row["gold"], row["kind"], row["sender_group"], split, message, evidence)
