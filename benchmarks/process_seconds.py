"""How much CPU a reader takes for one input, held against what this machine can do at this moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

SECONDS: Final = 1.0
"""CPU seconds that one message may take, on a machine that is quiet."""
PAGES: Final = 8
"""The same in ordinary pages of MAX_HTML characters: what counts where a page takes longer than SECONDS / PAGES."""

_PARAGRAPH: Final = "<p>one two three <b>four</b> five <a href=https://x.example/>six</a>.</p>\n"


def used(work: Callable[[], object]) -> float:
    """CPU seconds of this process that `work` takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def allowed() -> float:
    """CPU seconds that one message may take here and now: SECONDS, or PAGES ordinary pages where that is more.

    Neighbours on a shared core double and triple what the same work costs; they do it to the ordinary page as well.
    """
    from dealmail.transforms.html_text import MAX_HTML, html_to_text  # late: atheris counts what it sees imported

    page = _PARAGRAPH * (MAX_HTML // len(_PARAGRAPH))
    return max(SECONDS, PAGES * used(lambda: html_to_text(page)))


def excess(work: Callable[[], object], times: float = 1, tries: int = 3) -> float:
    """CPU seconds that `work` takes if that is over `times` what is allowed in each of `tries`, else 0.

    What grows with the square of its input takes many times what is allowed, in every try.
    """
    seconds = 0.0
    for _ in range(tries):
        seconds = used(work)
        if seconds <= times * SECONDS or seconds <= times * allowed():
            return 0.0
    return seconds
