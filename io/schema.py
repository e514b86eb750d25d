"""The tables, for MariaDB and SQLite alike. Migrations live in io/migrations; this is the schema at its newest.

Every row carries its team. Ids are opaque ASCII strings. Times are UTC with microseconds.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

metadata = sa.MetaData()

MAX_TEXT_BYTES = 1_000_000
"""The longest stored body, in UTF-8 bytes; longer ones are cut at a character and flagged."""


class UtcDateTime(sa.types.TypeDecorator):
    """An aware UTC datetime with microseconds: DATETIME(6) on MariaDB, ISO text on SQLite. Naive values are refused."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        """DATETIME(6) where the server would otherwise drop the fraction."""
        return dialect.type_descriptor(mysql.DATETIME(fsp=6) if dialect.name in {"mysql", "mariadb"} else sa.DateTime())

    def process_bind_param(self, value: dt.datetime | None, dialect: sa.Dialect) -> dt.datetime | None:
        """Aware in, naive UTC to the driver."""
        if value is None:
            return None
        if value.tzinfo is None:
            msg = f"a time without a zone: {value!r}; hand in an aware datetime"
            raise ValueError(msg)
        return value.astimezone(dt.UTC).replace(tzinfo=None)

    def process_result_value(self, value: dt.datetime | None, dialect: sa.Dialect) -> dt.datetime | None:
        """Naive UTC from the driver, aware out."""
        return None if value is None else value.replace(tzinfo=dt.UTC)


class UnsignedBig(sa.types.TypeDecorator):
    """A whole number from 0 to 2^64-1 in a signed column, as its two's complement: for equality only, never for order."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: sa.Dialect) -> int | None:
        """The upper half of the range becomes negative."""
        return value - 2**64 if value is not None and value >= 2**63 else value

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> int | None:
        """And comes back."""
        return value + 2**64 if value is not None and value < 0 else value


def Key(length: int = 64) -> sa.types.TypeEngine:
    """A string compared byte by byte, trailing spaces included, as SQLite does it."""
    return sa.String(length).with_variant(
        mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_nopad_bin"), "mysql", "mariadb"
    )


def Text(mysql_type: type) -> sa.types.TypeEngine:
    """Long text: `mysql_type` on MariaDB."""
    return sa.Text().with_variant(mysql_type(charset="utf8mb4", collation="utf8mb4_unicode_ci"), "mysql", "mariadb")


ADDRESS = 320
"""RFC 5321 section 4.5.3.1: 64 + 1 + 255."""

_big = sa.BigInteger()
_auto = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# --- control ---------------------------------------------------------------------------------------------------------
team = sa.Table(
    "team", metadata,
    sa.Column("id", Key(), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, default=""),
    sa.Column("crm_version", _big, nullable=False, default=0),  # moves whenever a CRM or blocklist row changes
    sa.Column("relinked_version", _big, nullable=False, default=0),  # of the CRM, by which stored mail was last linked; see io/relink.py
    sa.Column("settings", sa.JSON, nullable=False, default=dict),  # policies; see transforms/settings.py for the names
    sa.Column("created_at", UtcDateTime, nullable=False),
)  # fmt: skip
user = sa.Table(
    "user", metadata,
    sa.Column("team_id", Key(), primary_key=True),
    sa.Column("id", Key(), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, default=""),
    sa.Column("is_listed", sa.Boolean, nullable=False, default=True),  # no: the CRM file leaves them out; no mailbox of theirs is read
)  # fmt: skip
user_address = sa.Table(  # primary address, send-as and aliases of the team's users
    "user_address", metadata,
    sa.Column("team_id", Key(), primary_key=True),
    sa.Column("address", Key(ADDRESS), primary_key=True),
    sa.Column("user_id", Key(), nullable=False),
    sa.Column("is_primary", sa.Boolean, nullable=False, default=False),
    sa.Index("ix_user_address_user", "team_id", "user_id"),
)  # fmt: skip
mailbox = sa.Table(
    "mailbox", metadata,
    sa.Column("id", Key(), primary_key=True),
    sa.Column("team_id", Key(), nullable=False),
    sa.Column("user_id", Key(), nullable=False),
    sa.Column("address", Key(ADDRESS), nullable=False),
    sa.Column("import_on", sa.Boolean, nullable=False, default=False),
    sa.Column("state", sa.String(32), nullable=False, default="not_connected"),  # transforms.decisions.MAILBOX_STATES
    sa.Column("state_since", UtcDateTime),
    sa.Column("state_reason", sa.String(255), nullable=False, default=""),  # an error class or reason code, never content
    sa.Column("history_id", UnsignedBig()),  # the cursor (Gmail: uint64); NULL: no first sync yet
    sa.Column("cursor_seq", _big, nullable=False, default=0),  # moves with every claim: the compare-and-set
    sa.Column("confirmed_at", UtcDateTime),  # everything Gmail had at this time is in the ledger
    sa.Column("window_from", UtcDateTime),  # start of the look-back window; moves only earlier
    sa.Column("next_poll_at", UtcDateTime),
    sa.Column("last_poll_at", UtcDateTime),
    sa.Column("last_push_at", UtcDateTime),
    sa.Column("last_mail_at", UtcDateTime),  # when a poll or push last found mail
    sa.Column("unpushed_since", UtcDateTime),  # a poll found mail that no push had announced
    sa.Column("not_before", UtcDateTime),  # Gmail asked for a pause until then
    sa.Column("watch_expires_at", UtcDateTime),
    sa.Column("watch_renew_at", UtcDateTime),
    sa.Column("watch_error", sa.String(255), nullable=False, default=""),
    sa.Column("expired_cursors", sa.Integer, nullable=False, default=0),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("team_id", "address", name="uq_mailbox_address"),
    sa.Index("ix_mailbox_address", "address"),
    sa.Index("ix_mailbox_next_poll", "import_on", "next_poll_at"),
)  # fmt: skip
consent = sa.Table(  # append-only
    "consent", metadata,
    sa.Column("id", _auto, primary_key=True, autoincrement=True),
    sa.Column("team_id", Key(), nullable=False),
    sa.Column("mailbox_id", Key(), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("action", sa.String(32), nullable=False),  # import_on, import_off, granted, delegated, revoked, refused
    sa.Column("actor", sa.String(ADDRESS), nullable=False, default=""),
    sa.Column("detail", sa.String(255), nullable=False, default=""),
    sa.Index("ix_consent_mailbox", "mailbox_id", "id"),
)  # fmt: skip
credential = sa.Table(
    "credential", metadata,
    sa.Column("mailbox_id", Key(), primary_key=True),
    sa.Column("team_id", Key(), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),  # oauth, delegated
    sa.Column("ciphertext", sa.LargeBinary, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
)  # fmt: skip
ended_credential = sa.Table(  # nobody reads with it any more; kept until Google has been told (io/endings.py)
    "ended_credential", metadata,
    sa.Column("id", _auto, primary_key=True, autoincrement=True),
    sa.Column("team_id", Key(), nullable=False),
    sa.Column("mailbox_id", Key(), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("ciphertext", sa.LargeBinary, nullable=False),
    sa.Column("actor", sa.String(ADDRESS), nullable=False, default=""),  # who ended it
    sa.Column("ended_at", UtcDateTime, nullable=False),
    sa.Index("ix_ended_credential_mailbox", "mailbox_id"),
)  # fmt: skip
quota_use = sa.Table(
    "quota_use", metadata,
    sa.Column("scope", Key(), primary_key=True),  # a mailbox id, "project", or "day" (the project's, by day)
    sa.Column("slot", _big, primary_key=True),  # Unix time // 10 (io/quota.py); of a day its first
    sa.Column("units", _big, nullable=False, default=0),
)  # fmt: skip

quota_limit = sa.Table(  # what the job was started with (io/quota.py), for the console
    "quota_limit", metadata,
    sa.Column("name", Key(), primary_key=True),
    sa.Column("units", _big, nullable=False),
)  # fmt: skip
chore = sa.Table(  # what is done now and then: audits, retention, re-linking
    "chore", metadata,
    sa.Column("name", Key(96), primary_key=True),  # kind:id, of a mailbox or a team
    sa.Column("turn_at", UtcDateTime, nullable=False),
    sa.Index("ix_chore_turn", "turn_at"),
)  # fmt: skip

# --- CRM -------------------------------------------------------------------------------------------------------------
own_domain = sa.Table(
    "own_domain", metadata,
    sa.Column("team_id", Key(), primary_key=True),
    sa.Column("domain", Key(255), primary_key=True),
)  # fmt: skip
account = sa.Table(
    "account", metadata,
    sa.Column("team_id", Key(), primary_key=True),
    sa.Column("id", Key(), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, default=""),
)  # fmt: skip
account_domain = sa.Table(
    "account_domain", metadata,
    sa.Column("team_id", Key(), primary_key=True),
    sa.Column("domain", Key(255), primary_key=True),
    sa.Column("account_id", Key(), primary_key=True),
    sa.Index("ix_account_domain_account", "team_id", "account_id"),
)  # fmt: skip
contact = sa.Table(
    "contact", metadata,
    sa.Column("team_id", Key(), primary_key=True),
    sa.Column("id", Key(), primary_key=True),
    sa.Column("address", Key(ADDRESS), nullable=False),
    sa.Column("name", sa.String(255), nullable=False, default=""),
    sa.Column("account_id", Key()),
    sa.Index("ix_contact_address", "team_id", "address"),
    sa.Index("ix_contact_account", "team_id", "account_id"),
)  # fmt: skip
lead = sa.Table(
    "lead", metadata,
    sa.Column("team_id", Key(), primary_key=True),
    sa.Column("id", Key(), primary_key=True),
    sa.Column("address", Key(ADDRESS), nullable=False),
    sa.Column("name", sa.String(255), nullable=False, default=""),
    sa.Column("company", sa.String(255), nullable=False, default=""),
    sa.Column("converted_contact_id", Key()),
    sa.Index("ix_lead_address", "team_id", "address"),
)  # fmt: skip
opportunity = sa.Table(
    "opportunity", metadata,
    sa.Column("team_id", Key(), primary_key=True),
    sa.Column("id", Key(), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, default=""),
    sa.Column("account_id", Key(), nullable=False),
    sa.Column("owner_user_id", Key()),
    sa.Column("is_open", sa.Boolean, nullable=False, default=True),
    sa.Column("opened_on", sa.Date, nullable=False),
    sa.Column("closed_on", sa.Date),
    sa.Index("ix_opportunity_account", "team_id", "account_id"),
    sa.Index("ix_opportunity_owner", "team_id", "owner_user_id"),
)  # fmt: skip
blocked = sa.Table(  # an address, a domain with its sub-domains, or a wildcard
    "blocked", metadata,
    sa.Column("team_id", Key(), primary_key=True),
    sa.Column("user_id", Key(), primary_key=True, default=""),  # "": the whole team
    sa.Column("pattern", Key(ADDRESS), primary_key=True),
)  # fmt: skip

# --- work ------------------------------------------------------------------------------------------------------------
listing = sa.Table(  # a messages.list that has to be walked: first sync, extension, recovery, targeted look back
    "listing", metadata,
    sa.Column("id", _auto, primary_key=True, autoincrement=True),
    sa.Column("team_id", Key(), nullable=False),
    sa.Column("mailbox_id", Key(), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),  # listings.Kind
    sa.Column("query", Text(mysql.TEXT), nullable=False, default=""),  # terms beside the dates; "" asks for everything
    sa.Column("after_at", UtcDateTime, nullable=False),
    sa.Column("before_at", UtcDateTime),
    sa.Column("page_token", Text(mysql.TEXT), nullable=False, default=""),
    sa.Column("listed", sa.Integer, nullable=False, default=0),
    sa.Column("estimate", sa.Integer, nullable=False, default=0),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("finished_at", UtcDateTime),
    sa.Column("not_before", UtcDateTime),  # Gmail refused its next page: not asked for until then
    sa.Column("refusals", sa.Integer, nullable=False, default=0),  # in a row
    sa.Column("error_class", sa.String(64), nullable=False, default=""),  # of the last of them
    sa.Index("ix_listing_mailbox", "mailbox_id", "kind"),
    sa.Index("ix_listing_open", "finished_at", "mailbox_id"),  # asked every second, while the finished ones grow in number
)  # fmt: skip
message = sa.Table(  # the ledger: one row for every message that was looked at
    "message", metadata,
    sa.Column("mailbox_id", Key(), primary_key=True),
    sa.Column("gmail_id", Key(), primary_key=True),
    sa.Column("team_id", Key(), nullable=False),
    sa.Column("state", sa.String(8), nullable=False, default="pending"),  # pending, decided
    sa.Column("lane", sa.SmallInteger, nullable=False, default=0),  # 0 live, 1 backfill
    sa.Column("outcome", sa.String(8)),  # imported, dropped, gone, parked
    sa.Column("rule", sa.String(64)),
    sa.Column("rules_version", sa.String(32), nullable=False, default=""),
    sa.Column("score", sa.Float),
    sa.Column("signals", sa.JSON(none_as_null=True)),
    sa.Column("engagement_id", Key(32)),
    sa.Column("failures", sa.Integer, nullable=False, default=0),  # counted ones; the fifth parks
    sa.Column("tries", sa.Integer, nullable=False, default=0),  # failures of this error_class in a row, counted or not
    sa.Column("leases", sa.Integer, nullable=False, default=0),
    sa.Column("not_before", UtcDateTime),
    sa.Column("lease", Key(32)),
    sa.Column("lease_until", UtcDateTime),
    sa.Column("phase", sa.String(32)),  # of the last failure
    sa.Column("error_class", sa.String(64)),
    sa.Column("found_at", UtcDateTime, nullable=False),
    sa.Column("decided_at", UtcDateTime),
    sa.Index("ix_message_work", "mailbox_id", "state", "lane", "gmail_id"),
    sa.Index("ix_message_rule", "team_id", "rule"),
    sa.Index("ix_message_engagement", "team_id", "engagement_id"),
    sa.Index("ix_message_state", "state", "not_before"),
)  # fmt: skip
message_context = sa.Table(  # by what decisions fall: digests (automated.*, by later outbound mail), shelves (mail through groups)
    "message_context", metadata,
    sa.Column("team_id", Key(), primary_key=True),
    sa.Column("digest", Key(32), primary_key=True),
    sa.Column("mailbox_id", Key(), primary_key=True),
    sa.Column("gmail_id", Key(), primary_key=True),
    sa.Index("ix_message_context_message", "mailbox_id", "gmail_id"),
)  # fmt: skip
correspondence = sa.Table(  # keyed digests of whom the team wrote to, and of the Message-IDs its users sent
    "correspondence", metadata,
    sa.Column("team_id", Key(), primary_key=True),
    sa.Column("digest", Key(32), primary_key=True),
    sa.Column("engagement_id", Key(32), primary_key=True),
)  # fmt: skip

# --- result ----------------------------------------------------------------------------------------------------------
engagement = sa.Table(
    "engagement", metadata,
    sa.Column("team_id", Key(), primary_key=True),
    sa.Column("id", Key(32), primary_key=True),
    sa.Column("message_id", Text(mysql.TEXT), nullable=False),
    sa.Column("sent_at", UtcDateTime, nullable=False),
    sa.Column("direction", sa.String(8), nullable=False),
    sa.Column("sender_address", Key(ADDRESS), nullable=False),
    sa.Column("sender_name", sa.String(255), nullable=False, default=""),
    sa.Column("subject", Text(mysql.TEXT), nullable=False),
    sa.Column("text", Text(mysql.MEDIUMTEXT), nullable=False),
    sa.Column("spans", sa.JSON, nullable=False, default=list),  # [kind, start, end]
    sa.Column("truncated", sa.Boolean, nullable=False, default=False),  # some text column was cut
    sa.Column("flags", sa.JSON, nullable=False, default=list),
    sa.Column("content_digest", Key(64), nullable=False),
    sa.Column("rank", Key(128), nullable=False),  # the smallest of all copies seen
    sa.Column("version", _big, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Index("ix_engagement_sent", "team_id", "sent_at"),
)  # fmt: skip
participant = sa.Table(
    "participant", metadata,
    sa.Column("team_id", Key(), primary_key=True),
    sa.Column("engagement_id", Key(32), primary_key=True),
    sa.Column("role", sa.String(4), primary_key=True),  # from, to, cc
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("address", Key(ADDRESS), nullable=False),
    sa.Column("name", sa.String(255), nullable=False, default=""),
    sa.Index("ix_participant_address", "team_id", "address"),
)  # fmt: skip
engagement_link = sa.Table(
    "engagement_link", metadata,
    sa.Column("team_id", Key(), primary_key=True),
    sa.Column("engagement_id", Key(32), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),  # account, contact, lead, opportunity
    sa.Column("target_id", Key(), primary_key=True),
    sa.Column("is_primary", sa.Boolean, nullable=False, default=False),
    sa.Column("via", sa.String(32), nullable=False, default=""),
    sa.Index("ix_engagement_link_target", "team_id", "kind", "target_id"),
)  # fmt: skip
engagement_copy = sa.Table(  # which mailboxes hold it
    "engagement_copy", metadata,
    sa.Column("mailbox_id", Key(), primary_key=True),
    sa.Column("gmail_id", Key(), primary_key=True),
    sa.Column("team_id", Key(), nullable=False),
    sa.Column("engagement_id", Key(32), nullable=False),
    sa.Column("content_digest", Key(64), nullable=False),
    sa.Index("ix_engagement_copy_engagement", "team_id", "engagement_id"),
)  # fmt: skip
search_outbox = sa.Table(  # one row for an engagement whose newest version the index does not have yet
    "search_outbox", metadata,
    sa.Column("team_id", Key(), primary_key=True),
    sa.Column("engagement_id", Key(32), primary_key=True),
    sa.Column("version", _big, nullable=False),
    sa.Column("is_delete", sa.Boolean, nullable=False, default=False),
    sa.Column("enqueued_at", UtcDateTime, nullable=False),
    sa.Column("not_before", UtcDateTime),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("error_class", sa.String(64)),  # set: parked, the index refuses this document
    sa.Index("ix_search_outbox_order", "error_class", "enqueued_at"),  # what is parked stands apart
    sa.Index("ix_search_outbox_due", "error_class", "not_before"),
)  # fmt: skip
tombstone = sa.Table(  # keyed digests of what was erased and must not come back
    "tombstone", metadata,
    sa.Column("team_id", Key(), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),  # address, domain, engagement, mailbox, before, key
    sa.Column("digest", Key(64), primary_key=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
)  # fmt: skip

for _table in metadata.tables.values():  # whatever the server's own defaults are
    _table.kwargs.update(mysql_engine="InnoDB", mysql_charset="utf8mb4", mysql_collate="utf8mb4_unicode_ci")
