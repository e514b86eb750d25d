"""write_files: the sample as mbox files and a CRM file, for a person to look at or to serve as one's own mail."""

from __future__ import annotations

import csv
import pathlib
import re

from .model import SampleMessage, World

_TAKEOUT_LABELS = {
    "INBOX": "Inbox", "UNREAD": "Unread", "SENT": "Sent", "DRAFT": "Drafts", "TRASH": "Trash", "SPAM": "Spam", "CHAT": "Chat",
    "CATEGORY_PROMOTIONS": "Category promotions", "CATEGORY_UPDATES": "Category updates",
}  # fmt: skip
_FROM_LINE = re.compile(rb"^(>*From )", re.MULTILINE)


def as_mbox(message: SampleMessage) -> bytes:
    """`message` as one entry of an mbox file as Google Takeout writes it: labels in a header, From lines quoted (mboxrd)."""
    stamp = message.internal_date.strftime("%a %b %d %H:%M:%S +0000 %Y")
    labels = ",".join(_TAKEOUT_LABELS[label] for label in message.labels)
    head = f"From {int(message.internal_date.timestamp())}@xxx {stamp}\nX-Gmail-Labels: {labels}\n".encode()
    return head + _FROM_LINE.sub(rb">\1", message.raw.replace(b"\r\n", b"\n")).rstrip(b"\n") + b"\n\n"


def write_files(world: World, folder: pathlib.Path) -> list[pathlib.Path]:
    """Write `<user>.mbox` for each mailbox, the CRM, and `expected.csv` (what each message must become) into `folder`.

    The folder is made where missing, files of these names are replaced. Raises OSError where that cannot be done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[pathlib.Path] = []
    for mailbox in world.mailboxes:
        path = folder / f"{mailbox.partition('@')[0]}.mbox"
        path.write_bytes(b"".join(as_mbox(m) for m in world.messages if m.mailbox == mailbox))
        written.append(path)
    for name, text in world.crm.items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        written.append(path)
    path = folder / "expected.csv"
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("mailbox", "key", "category", "internal_date", "outcome", "rule", "mail"))
        for m in world.messages:
            writer.writerow(
                (
                    m.mailbox,
                    m.key,
                    m.category,
                    m.internal_date.isoformat(),
                    m.expected_outcome or "",
                    m.expected_rule or "",
                    m.shared_key,
                )
            )
    return [*written, path]
