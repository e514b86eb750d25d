"""What `messages.list` shows: which messages a search and its labels find, as far as Gmail tells."""

from __future__ import annotations

from . import payload
from .headers import read_headers, shown_value
from .mailbox import Mailbox, Message
from .search_query import Query


def is_listed(message: Message, query: Query, wanted: set[str], *, include: bool) -> bool:
    """Whether `query` finds the message among those that have the labels `wanted`; spam and trash only if asked for (`include`)."""
    if not wanted <= message.labels:
        return False
    hidden = message.labels & {"SPAM", "TRASH"}
    if hidden and not include and not query.names_spam_or_trash and not hidden & wanted:
        return False
    return query.test(_SearchView(message))


def label_named(mailbox: Mailbox, name: str) -> str:
    """The id of the label that a search calls `name`: dashes may stand for spaces and slashes."""
    wanted = name.lower()
    for label_id, label in mailbox.user_labels.items():
        if wanted in {label_id.lower(), label.lower(), label.lower().replace(" ", "-").replace("/", "-")}:
            return label_id
    return name.upper()


class _SearchView:
    """A message as a search sees it; header texts are made once."""

    def __init__(self, message: Message) -> None:
        self._message = message
        self.labels = message.labels
        self.internal_date = message.internal_date
        self.size = message.size

    def text(self, field: str) -> str:
        texts = self._message.search_text
        if texts is None:
            texts = {}
            for name, value in read_headers(self._message.read()):
                lower = name.lower()
                shown = shown_value(name, value)
                texts[lower] = f"{texts[lower]}, {shown}" if lower in texts else shown
            self._message.search_text = texts
        if field in {"body", "filename"} and field not in texts:
            root = payload.parse(self._message.read())
            texts["body"] = payload.body_text(root)
            texts["filename"] = " ".join(part.filename for part in root.walk() if part.filename)
        return texts.get(field, "")
