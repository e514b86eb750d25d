"""The first schema: all tables, and the three timelines for readers.

MariaDB commits each statement, so all of them may run again after an upgrade that was cut off.
"""

# ruff: noqa: S608 (the views are put together from our own words only)

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLE: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_unicode_ci"}


def key(length: int) -> Any:
    return sa.String(length).with_variant(
        mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_nopad_bin"), "mysql", "mariadb"
    )


def text(mysql_type: Any) -> Any:
    return sa.Text().with_variant(mysql_type(charset="utf8mb4", collation="utf8mb4_unicode_ci"), "mysql", "mariadb")


def utc() -> Any:
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def serial() -> Any:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def people(dialect: str) -> str:
    """Everybody on a mail, From first: `Name <address>, address`."""
    if dialect == "sqlite":
        return (
            "(SELECT group_concat(CASE WHEN name = '' THEN address ELSE name || ' <' || address || '>' END, ', ') FROM"
            " (SELECT p.name, p.address FROM participant p WHERE p.team_id = e.team_id AND p.engagement_id = e.id"
            " ORDER BY CASE p.role WHEN 'from' THEN 0 WHEN 'to' THEN 1 ELSE 2 END, p.position))"
        )
    return (
        "(SELECT group_concat(CASE WHEN p.name = '' THEN p.address ELSE concat(p.name, ' <', p.address, '>') END"
        " ORDER BY field(p.role, 'from', 'to', 'cc'), p.position SEPARATOR ', ')"
        " FROM participant p WHERE p.team_id = e.team_id AND p.engagement_id = e.id)"
    )


def timelines(dialect: str) -> dict[str, str]:
    """The statements behind the views; described in docs/tables.md."""
    mail = (
        "e.id AS engagement_id, e.message_id, e.sent_at, e.direction, e.sender_address, e.sender_name,"
        f" {people(dialect)} AS people, e.subject, e.text, e.truncated"
    )
    deals = (
        "SELECT o.team_id, o.id AS opportunity_id, o.name AS opportunity_name, o.is_open, o.owner_user_id, o.account_id,"
        f" l.is_primary, l.via, {mail} FROM opportunity o"
        " JOIN engagement_link l ON l.team_id = o.team_id AND l.kind = 'opportunity' AND l.target_id = o.id"
        " JOIN engagement e ON e.team_id = l.team_id AND e.id = l.engagement_id"
    )
    accounts = (
        f"SELECT a.team_id, a.id AS account_id, a.name AS account_name, l.is_primary, l.via, {mail} FROM account a"
        " JOIN engagement_link l ON l.team_id = a.team_id AND l.kind = 'account' AND l.target_id = a.id"
        " JOIN engagement e ON e.team_id = l.team_id AND e.id = l.engagement_id"
    )
    persons = (
        f"SELECT w.team_id, w.address, w.role, w.name, {mail} FROM participant w"
        " JOIN engagement e ON e.team_id = w.team_id AND e.id = w.engagement_id"
    )
    return {"deal_timeline": deals, "account_timeline": accounts, "person_timeline": persons}


def upgrade() -> None:
    # tables: begin
    op.create_table(
        "team",
        sa.Column("id", key(64), primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("crm_version", sa.BigInteger(), nullable=False),
        sa.Column("relinked_version", sa.BigInteger(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("created_at", utc(), nullable=False),
        if_not_exists=True,
        **TABLE,
    )
    op.create_table(
        "user",
        sa.Column("team_id", key(64), primary_key=True),
        sa.Column("id", key(64), primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("is_listed", sa.Boolean, nullable=False),
        if_not_exists=True,
        **TABLE,
    )
    op.create_table(
        "user_address",
        sa.Column("team_id", key(64), primary_key=True),
        sa.Column("address", key(320), primary_key=True),
        sa.Column("user_id", key(64), nullable=False),
        sa.Column("is_primary", sa.Boolean(), nullable=False),
        if_not_exists=True,
        **TABLE,
    )
    op.create_index("ix_user_address_user", "user_address", ["team_id", "user_id"], if_not_exists=True)
    op.create_table(
        "mailbox",
        sa.Column("id", key(64), primary_key=True),
        sa.Column("team_id", key(64), nullable=False),
        sa.Column("user_id", key(64), nullable=False),
        sa.Column("address", key(320), nullable=False),
        sa.Column("import_on", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("state_since", utc()),
        sa.Column("state_reason", sa.String(255), nullable=False),
        sa.Column("history_id", sa.BigInteger()),
        sa.Column("cursor_seq", sa.BigInteger(), nullable=False),
        sa.Column("confirmed_at", utc()),
        sa.Column("window_from", utc()),
        sa.Column("next_poll_at", utc()),
        sa.Column("last_poll_at", utc()),
        sa.Column("last_push_at", utc()),
        sa.Column("last_mail_at", utc()),
        sa.Column("unpushed_since", utc()),
        sa.Column("not_before", utc()),
        sa.Column("watch_expires_at", utc()),
        sa.Column("watch_renew_at", utc()),
        sa.Column("watch_error", sa.String(255), nullable=False),
        sa.Column("expired_cursors", sa.Integer(), nullable=False),
        sa.Column("created_at", utc(), nullable=False),
        sa.UniqueConstraint("team_id", "address", name="uq_mailbox_address"),
        if_not_exists=True,
        **TABLE,
    )
    op.create_index("ix_mailbox_address", "mailbox", ["address"], if_not_exists=True)
    op.create_index("ix_mailbox_next_poll", "mailbox", ["import_on", "next_poll_at"], if_not_exists=True)
    op.create_table(
        "consent",
        sa.Column("id", serial(), primary_key=True, autoincrement=True),
        sa.Column("team_id", key(64), nullable=False),
        sa.Column("mailbox_id", key(64), nullable=False),
        sa.Column("at", utc(), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("actor", sa.String(320), nullable=False),
        sa.Column("detail", sa.String(255), nullable=False),
        if_not_exists=True,
        **TABLE,
    )
    op.create_index("ix_consent_mailbox", "consent", ["mailbox_id", "id"], if_not_exists=True)
    op.create_table(
        "credential",
        sa.Column("mailbox_id", key(64), primary_key=True),
        sa.Column("team_id", key(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", utc(), nullable=False),
        if_not_exists=True,
        **TABLE,
    )
    op.create_table(
        "ended_credential",
        sa.Column("id", serial(), primary_key=True, autoincrement=True),
        sa.Column("team_id", key(64), nullable=False),
        sa.Column("mailbox_id", key(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("actor", sa.String(320), nullable=False),
        sa.Column("ended_at", utc(), nullable=False),
        if_not_exists=True,
        **TABLE,
    )
    op.create_index("ix_ended_credential_mailbox", "ended_credential", ["mailbox_id"], if_not_exists=True)
    op.create_table(
        "quota_use",
        sa.Column("scope", key(64), primary_key=True),
        sa.Column("slot", sa.BigInteger(), primary_key=True),
        sa.Column("units", sa.BigInteger(), nullable=False),
        if_not_exists=True,
        **TABLE,
    )
    op.create_table(
        "quota_limit",
        sa.Column("name", key(64), primary_key=True),
        sa.Column("units", sa.BigInteger(), nullable=False),
        if_not_exists=True,
        **TABLE,
    )
    op.create_table(
        "chore",
        sa.Column("name", key(96), primary_key=True),
        sa.Column("turn_at", utc(), nullable=False),
        if_not_exists=True,
        **TABLE,
    )
    op.create_index("ix_chore_turn", "chore", ["turn_at"], if_not_exists=True)
    op.create_table(
        "own_domain",
        sa.Column("team_id", key(64), primary_key=True),
        sa.Column("domain", key(255), primary_key=True),
        if_not_exists=True,
        **TABLE,
    )
    op.create_table(
        "account",
        sa.Column("team_id", key(64), primary_key=True),
        sa.Column("id", key(64), primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        if_not_exists=True,
        **TABLE,
    )
    op.create_table(
        "account_domain",
        sa.Column("team_id", key(64), primary_key=True),
        sa.Column("domain", key(255), primary_key=True),
        sa.Column("account_id", key(64), primary_key=True),
        if_not_exists=True,
        **TABLE,
    )
    op.create_index("ix_account_domain_account", "account_domain", ["team_id", "account_id"], if_not_exists=True)
    op.create_table(
        "contact",
        sa.Column("team_id", key(64), primary_key=True),
        sa.Column("id", key(64), primary_key=True),
        sa.Column("address", key(320), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("account_id", key(64)),
        if_not_exists=True,
        **TABLE,
    )
    op.create_index("ix_contact_account", "contact", ["team_id", "account_id"], if_not_exists=True)
    op.create_index("ix_contact_address", "contact", ["team_id", "address"], if_not_exists=True)
    op.create_table(
        "lead",
        sa.Column("team_id", key(64), primary_key=True),
        sa.Column("id", key(64), primary_key=True),
        sa.Column("address", key(320), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("company", sa.String(255), nullable=False),
        sa.Column("converted_contact_id", key(64)),
        if_not_exists=True,
        **TABLE,
    )
    op.create_index("ix_lead_address", "lead", ["team_id", "address"], if_not_exists=True)
    op.create_table(
        "opportunity",
        sa.Column("team_id", key(64), primary_key=True),
        sa.Column("id", key(64), primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("account_id", key(64), nullable=False),
        sa.Column("owner_user_id", key(64)),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("opened_on", sa.Date(), nullable=False),
        sa.Column("closed_on", sa.Date()),
        if_not_exists=True,
        **TABLE,
    )
    op.create_index("ix_opportunity_account", "opportunity", ["team_id", "account_id"], if_not_exists=True)
    op.create_index("ix_opportunity_owner", "opportunity", ["team_id", "owner_user_id"], if_not_exists=True)
    op.create_table(
        "blocked",
        sa.Column("team_id", key(64), primary_key=True),
        sa.Column("user_id", key(64), primary_key=True),
        sa.Column("pattern", key(320), primary_key=True),
        if_not_exists=True,
        **TABLE,
    )
    op.create_table(
        "listing",
        sa.Column("id", serial(), primary_key=True, autoincrement=True),
        sa.Column("team_id", key(64), nullable=False),
        sa.Column("mailbox_id", key(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("query", text(mysql.TEXT), nullable=False),
        sa.Column("after_at", utc(), nullable=False),
        sa.Column("before_at", utc()),
        sa.Column("page_token", text(mysql.TEXT), nullable=False),
        sa.Column("listed", sa.Integer(), nullable=False),
        sa.Column("estimate", sa.Integer(), nullable=False),
        sa.Column("created_at", utc(), nullable=False),
        sa.Column("finished_at", utc()),
        sa.Column("not_before", utc()),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("error_class", sa.String(64), nullable=False),
        if_not_exists=True,
        **TABLE,
    )
    op.create_index("ix_listing_mailbox", "listing", ["mailbox_id", "kind"], if_not_exists=True)
    op.create_index("ix_listing_open", "listing", ["finished_at", "mailbox_id"], if_not_exists=True)
    op.create_table(
        "message",
        sa.Column("mailbox_id", key(64), primary_key=True),
        sa.Column("gmail_id", key(64), primary_key=True),
        sa.Column("team_id", key(64), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("outcome", sa.String(8)),
        sa.Column("rule", sa.String(64)),
        sa.Column("rules_version", sa.String(32), nullable=False),
        sa.Column("score", sa.Float()),
        sa.Column("signals", sa.JSON()),
        sa.Column("engagement_id", key(32)),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("leases", sa.Integer(), nullable=False),
        sa.Column("not_before", utc()),
        sa.Column("lease", key(32)),
        sa.Column("lease_until", utc()),
        sa.Column("phase", sa.String(32)),
        sa.Column("error_class", sa.String(64)),
        sa.Column("found_at", utc(), nullable=False),
        sa.Column("decided_at", utc()),
        if_not_exists=True,
        **TABLE,
    )
    op.create_index("ix_message_engagement", "message", ["team_id", "engagement_id"], if_not_exists=True)
    op.create_index("ix_message_rule", "message", ["team_id", "rule"], if_not_exists=True)
    op.create_index("ix_message_state", "message", ["state", "not_before"], if_not_exists=True)
    op.create_index("ix_message_work", "message", ["mailbox_id", "state", "lane", "gmail_id"], if_not_exists=True)
    op.create_table(
        "message_context",
        sa.Column("team_id", key(64), primary_key=True),
        sa.Column("digest", key(32), primary_key=True),
        sa.Column("mailbox_id", key(64), primary_key=True),
        sa.Column("gmail_id", key(64), primary_key=True),
        if_not_exists=True,
        **TABLE,
    )
    op.create_index("ix_message_context_message", "message_context", ["mailbox_id", "gmail_id"], if_not_exists=True)
    op.create_table(
        "correspondence",
        sa.Column("team_id", key(64), primary_key=True),
        sa.Column("digest", key(32), primary_key=True),
        sa.Column("engagement_id", key(32), primary_key=True),
        if_not_exists=True,
        **TABLE,
    )
    op.create_table(
        "engagement",
        sa.Column("team_id", key(64), primary_key=True),
        sa.Column("id", key(32), primary_key=True),
        sa.Column("message_id", text(mysql.TEXT), nullable=False),
        sa.Column("sent_at", utc(), nullable=False),
        sa.Column("direction", sa.String(8), nullable=False),
        sa.Column("sender_address", key(320), nullable=False),
        sa.Column("sender_name", sa.String(255), nullable=False),
        sa.Column("subject", text(mysql.TEXT), nullable=False),
        sa.Column("text", text(mysql.MEDIUMTEXT), nullable=False),
        sa.Column("spans", sa.JSON(), nullable=False),
        sa.Column("truncated", sa.Boolean(), nullable=False),
        sa.Column("flags", sa.JSON(), nullable=False),
        sa.Column("content_digest", key(64), nullable=False),
        sa.Column("rank", key(128), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", utc(), nullable=False),
        sa.Column("updated_at", utc(), nullable=False),
        if_not_exists=True,
        **TABLE,
    )
    op.create_index("ix_engagement_sent", "engagement", ["team_id", "sent_at"], if_not_exists=True)
    op.create_table(
        "participant",
        sa.Column("team_id", key(64), primary_key=True),
        sa.Column("engagement_id", key(32), primary_key=True),
        sa.Column("role", sa.String(4), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("address", key(320), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        if_not_exists=True,
        **TABLE,
    )
    op.create_index("ix_participant_address", "participant", ["team_id", "address"], if_not_exists=True)
    op.create_table(
        "engagement_link",
        sa.Column("team_id", key(64), primary_key=True),
        sa.Column("engagement_id", key(32), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("target_id", key(64), primary_key=True),
        sa.Column("is_primary", sa.Boolean(), nullable=False),
        sa.Column("via", sa.String(32), nullable=False),
        if_not_exists=True,
        **TABLE,
    )
    op.create_index(
        "ix_engagement_link_target", "engagement_link", ["team_id", "kind", "target_id"], if_not_exists=True
    )
    op.create_table(
        "engagement_copy",
        sa.Column("mailbox_id", key(64), primary_key=True),
        sa.Column("gmail_id", key(64), primary_key=True),
        sa.Column("team_id", key(64), nullable=False),
        sa.Column("engagement_id", key(32), nullable=False),
        sa.Column("content_digest", key(64), nullable=False),
        if_not_exists=True,
        **TABLE,
    )
    op.create_index(
        "ix_engagement_copy_engagement", "engagement_copy", ["team_id", "engagement_id"], if_not_exists=True
    )
    op.create_table(
        "search_outbox",
        sa.Column("team_id", key(64), primary_key=True),
        sa.Column("engagement_id", key(32), primary_key=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("is_delete", sa.Boolean(), nullable=False),
        sa.Column("enqueued_at", utc(), nullable=False),
        sa.Column("not_before", utc()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error_class", sa.String(64)),
        if_not_exists=True,
        **TABLE,
    )
    op.create_index("ix_search_outbox_order", "search_outbox", ["error_class", "enqueued_at"], if_not_exists=True)
    op.create_index("ix_search_outbox_due", "search_outbox", ["error_class", "not_before"], if_not_exists=True)
    op.create_table(
        "tombstone",
        sa.Column("team_id", key(64), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("digest", key(64), primary_key=True),
        sa.Column("created_at", utc(), nullable=False),
        if_not_exists=True,
        **TABLE,
    )
    # tables: end
    for name, statement in timelines(op.get_bind().dialect.name).items():
        op.execute(f"CREATE VIEW IF NOT EXISTS {name} AS {statement}")


def downgrade() -> None:
    msg = "there is nothing below the first schema"
    raise NotImplementedError(msg)
