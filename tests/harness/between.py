"""Something that happens in another thread, in the middle of a transaction."""

from __future__ import annotations

import threading
from typing import Any

import sqlalchemy as sa


class Between:
    """Does `action` once, in another thread, just before the first statement that holds all of `words`."""

    def __init__(self, database: Any, words: tuple[str, ...], action: Any) -> None:
        self._engine, self._words, self._action = database.engine, words, action
        self.happened = False

    def _before(self, unused_connection: Any, unused_cursor: Any, text: str, *unused: Any) -> None:
        if self.happened or not all(word in text for word in self._words):
            return
        self.happened = True
        other = threading.Thread(target=self._action)
        other.start()
        other.join(60)
        assert not other.is_alive()

    def __enter__(self) -> Between:
        sa.event.listen(self._engine, "before_cursor_execute", self._before)
        return self

    def __exit__(self, *unused: object) -> None:
        sa.event.remove(self._engine, "before_cursor_execute", self._before)
