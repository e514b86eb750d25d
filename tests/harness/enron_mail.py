"""The four Enron mailboxes of the corpora as a team of dealmail's: each mail with its canonical id as Message-ID, and a CRM.

As a command it writes them as mbox files, with the CRM beside them, for `make run MAIL=… CRM=…`:

    .venv/bin/python tests/harness/enron_mail.py CORPORA FOLDER
"""

from __future__ import annotations

import base64
import collections
import csv
import dataclasses
import datetime as dt
import email.parser
import email.policy
import email.utils
import hashlib
import pathlib
import re
import sys
from collections.abc import Iterable, Iterator

import publicsuffixlist

TEAM = "default"
OWN_DOMAIN = "enron.com"
DOMAINS = 200
OPENED = dt.date(2000, 1, 1)
ADDRESSES = {
    "beck-s": "sally.beck@enron.com",
    "buy-r": "rick.buy@enron.com",
    "lokay-m": "michelle.lokay@enron.com",
    "presto-k": "kevin.presto@enron.com",
}

_MESSAGE_ID = re.compile(rb"^Message-ID:[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE | re.MULTILINE)
_ADDRESS = re.compile(r"[^\s<>,;:\"'()\[\]@]+@[A-Za-z0-9.-]+[A-Za-z0-9]")
_suffixes = publicsuffixlist.PublicSuffixList()


@dataclasses.dataclass(frozen=True, slots=True)
class EnronMail:
    """One file of one mailbox. `group` is the same in every copy of a mail; `domains` are those of From, To and Cc."""

    path: str
    owner: str
    group: str
    raw: bytes
    is_sent: bool
    at: dt.datetime
    gmail_id: str
    domains: frozenset[str]

    @property
    def label(self) -> str:
        """Where the mail lies in Gmail."""
        return "SENT" if self.is_sent else "INBOX"

    def as_json(self) -> dict[str, object]:
        """The mail as the sandbox's `deliver_many` takes it."""
        return {
            "raw": base64.b64encode(self.raw).decode("ascii"),
            "labels": [self.label],
            "internal_date": int(self.at.timestamp() * 1000),
            "id": self.gmail_id,
        }


def read_mails(corpora: pathlib.Path) -> list[EnronMail]:
    """Every mail of `enron_canonical.tsv`, its `relaxed_id` written in as the Message-ID."""
    with (corpora / "enron_canonical.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [_mail(corpora, row) for row in rows]


def _mail(corpora: pathlib.Path, row: dict[str, str]) -> EnronMail:
    written = f"Message-ID: <{row['relaxed_id']}@mail.enron.example>\n".encode()
    raw, count = _MESSAGE_ID.subn(written, (corpora / row["path"]).read_bytes(), count=1)
    assert count == 1, row["path"]
    headers = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(raw)
    at = email.utils.parsedate_to_datetime(str(headers["date"])).astimezone(dt.UTC)
    fields = " , ".join(str(value) for name in ("from", "to", "cc") for value in headers.get_all(name, []))
    milliseconds = int(at.timestamp() * 1000)
    digest = hashlib.sha256(row["path"].encode()).digest()
    return EnronMail(
        path=row["path"],
        owner=ADDRESSES[row["user"]],
        group=row["relaxed_id"],
        raw=raw,
        is_sent="sent" in row["folder"],
        at=at,
        gmail_id=f"{(milliseconds << 20) | int.from_bytes(digest[:3]) >> 4:016x}",
        domains=frozenset(found.rpartition("@")[2].lower() for found in _ADDRESS.findall(fields)),
    )


def is_own(domain: str) -> bool:
    """Whether `domain` is Enron's."""
    return domain == OWN_DOMAIN or domain.endswith(f".{OWN_DOMAIN}")


def frequent_domains(mails: Iterable[EnronMail]) -> list[str]:
    """The external domains on most mails, most frequent first."""
    seen = collections.Counter(domain for mail in mails for domain in mail.domains if not is_own(domain))
    return [domain for domain, _ in sorted(seen.items(), key=lambda item: (-item[1], item[0]))[:DOMAINS]]


def registered(domain: str) -> str:
    """The part of `domain` that somebody registered."""
    return str(_suffixes.privatesuffix(domain) or domain)


def crm_csv(domains: Iterable[str], own_domain: str = OWN_DOMAIN) -> str:
    """The team's CRM: its people with an open opportunity each, and an account for each domain."""
    lines = ["kind,id,name,address,domain,account_id,owner,is_open,opened_on,user_id"]
    lines += [f"user,{user},{user},{address},,,,,," for user, address in ADDRESSES.items()]
    lines += ["user_address,,,m..presto@enron.com,,,,,,presto-k"]
    lines += [f"own_domain,,,,{own_domain},,,,,"] if own_domain else []
    lines += [f"account,a{n},{domain},,{domain},,,,," for n, domain in enumerate(domains)]
    lines += [f"opportunity,o-{user},Old deal,,,a0,{user},true,{OPENED.isoformat()}," for user in ADDRESSES]
    return "\n".join([*lines, ""])


def _mbox(mails: Iterable[EnronMail]) -> Iterator[bytes]:
    for mail in mails:
        yield b"From - " + mail.at.strftime("%a %b %d %H:%M:%S %Y").encode() + b"\n"
        yield b"X-Gmail-Labels: " + mail.label.capitalize().encode() + b"\n"
        yield re.sub(rb"(?m)^(>*From )", rb">\1", mail.raw) + b"\n\n"  # a blank line ends a mail


def main(corpora: str, folder: str) -> None:
    """Write an mbox a user and `crm.csv` into `folder`, and show the command that runs them."""
    out = pathlib.Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    mails = read_mails(pathlib.Path(corpora))
    for user, address in ADDRESSES.items():
        (out / f"{user}.mbox").write_bytes(b"".join(_mbox(mail for mail in mails if mail.owner == address)))
    (out / "crm.csv").write_text(crm_csv(frequent_domains(mails)), encoding="utf-8")
    mail = ",".join(f"{address}={out / user}.mbox" for user, address in ADDRESSES.items())
    sys.stdout.write(f"make run MAIL={mail} CRM={out / 'crm.csv'}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
