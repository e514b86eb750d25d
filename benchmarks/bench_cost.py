"""What a first sync costs in Gmail's quota units, for each imported mail, where 1, 10 or 50 % of a mailbox match the CRM.

    python -m benchmarks.bench_cost [--messages 2000]

The job itself syncs one mailbox of a sandbox; the units are those that the sandbox charged. Beside both plans (every id of the
window, or Gmail's search for the CRM's people and domains where that is cheaper: --search_plan) stand the floor, 20 units for
each imported mail and the listing of the window, and what fetching every message would cost. Goals: never more than fetching
everything and a hundredth on top; with the search at a rate of 1 %, no more than a third of it.
"""

from __future__ import annotations

import argparse
import base64
import datetime as dt
import json
import logging
import math
import pathlib
import random
import sys
import tempfile
from typing import Final

import sqlalchemy as sa

from dealmail.io import migrate, schema
from dealmail.io.crm_import import import_csv
from dealmail.io.database import Database, DatabaseSpec
from dealmail.io.gmail import SCOPE
from dealmail.io.google_signin import store_credential
from dealmail.io.mailboxes import Mailboxes
from dealmail.io.quota import QuotaLimits
from dealmail.io.vault import Vault, read_keys
from dealmail.pipeline import engines
from dealmail.pipeline.options import JobOptions
from dealmail.sandbox.client import SandboxClient
from dealmail.sandbox.quota import Limits
from dealmail.sandbox.service import Sandbox, Settings

from .scenarios import mails

RATES: Final = (0.01, 0.10, 0.50)
STRANGERS: Final[tuple[mails.Category, ...]] = ("stranger", "stranger", "internal")
ENDLESS: Final = QuotaLimits(10**9, 10**9, 10**9)


def utc_now() -> dt.datetime:
    """The time, UTC."""
    return dt.datetime.now(dt.UTC)


def sync(folder: pathlib.Path, messages: int, rate: float, *, search: bool) -> tuple[int, int]:
    """Sync a mailbox of `messages` mails, `rate` of which match, once; units spent and mails imported."""
    address = mails.users(1)[0]
    sandbox = Sandbox(Settings(limits=Limits(user=0, project=0, concurrent=0)))
    sandbox.add_mailbox(address)
    ends = sandbox.start()
    client = SandboxClient(str(ends["gmail"]))
    chance = random.Random(7)
    writer = mails.Writer(chance, mails.users(2), 0, large=0)  # whose texts are read apart, at 20 units more
    batch = []
    for number in range(messages):
        category: mails.Category = "customer" if number < messages * rate else chance.choice(STRANGERS)
        mail = writer.mail(category, address, utc_now() - dt.timedelta(days=chance.uniform(0.1, 25)))
        raw = base64.b64encode(mail.raw()).decode("ascii")
        batch.append({"raw": raw, "labels": ["INBOX"], "internal_date": int(mail.sent_at.timestamp() * 1000)})
    client.call("deliver_many", mailbox=address, messages=batch, loaded=True)
    (folder / "key").write_text("0123456789abcdef0123456789abcdef")
    (folder / "client.json").write_text(json.dumps(ends["oauth_client"]))
    spec = DatabaseSpec(f"sqlite:///{folder}/dealmail.db")
    database = Database(spec)
    migrate.upgrade(database)
    import_csv(database, mails.TEAM, mails.crm_csv(2, utc_now().date()), utc_now)
    boxes = Mailboxes(database, utc_now)
    box = boxes.add(mails.TEAM, "u0", address)
    token = {"refresh_token": client.grant(address), "scopes": [SCOPE]}
    vault = Vault(read_keys(f"file:{folder}/key"))
    database.transaction(
        lambda connection: store_credential(database, vault, connection, mails.TEAM, box.id, "oauth", token, utc_now())
    )
    boxes.turn_on(box.id, address)
    options = JobOptions(
        database=spec, gmail_endpoint=str(ends["gmail"]), oauth_client=f"file:{folder}/client.json",
        token_key=f"file:{folder}/key", once=True, claim_batch=500, quota=ENDLESS, search_plan=search,
    )  # fmt: skip
    engines.run_local(options)
    with database.reading() as connection:
        query = sa.select(sa.func.count()).where(schema.message.c.outcome == "imported")
        imported = connection.scalar(query) or 0
    units = sum(row["units"] for row in client.quota_ledger() if row["user"])
    database.close()
    client.close()
    sandbox.close()
    return units, imported


def main() -> int:
    """Print the table; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description="Units for each imported mail, by match rate and plan.")
    parser.add_argument("--messages", type=int, default=2000)
    messages = parser.parse_args().messages
    logging.getLogger("dealmail").setLevel(logging.ERROR)
    missed = []
    print(f"units for each imported mail, first sync of one mailbox with {messages:,} messages in its window")
    print(
        f"{'match rate':>10}  {'imported':>8}  {'floor':>8}  {'every id':>8}  {'search':>8}  {'fetch everything':>16}"
    )
    for rate in RATES:
        spent = {}
        for search in (False, True):
            with tempfile.TemporaryDirectory(prefix="dealmail-cost-") as name:
                spent[search], imported = sync(pathlib.Path(name), messages, rate, search=search)
            if imported != math.ceil(messages * rate):
                missed.append(f"{imported} imported at {rate:.0%} (search: {search})")
        listing = 5 * math.ceil(messages / 500)
        everything = 20 * messages + listing
        floor = 20 * imported + listing
        print(
            f"{rate:>10.0%}  {imported:>8,}  {floor / imported:>8.1f}  {spent[False] / imported:>8.1f}"
            f"  {spent[True] / imported:>8.1f}  {everything / imported:>16.1f}"
        )
        if max(spent.values()) > 1.01 * everything:
            missed.append(f"{rate:.0%} costs more than fetching everything")
        if rate == RATES[0] and spent[True] > everything / 3:
            missed.append(f"{rate:.0%} with the search costs {spent[True]} of {everything}")
    print("goals missed: " + "; ".join(missed) if missed else "all goals met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
