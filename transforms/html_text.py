"""HTML mail to readable plain text, in bounded time and memory, whatever the HTML.

Blocks, lists and tables keep their lines; hidden nodes, scripts, styles, titles, comments and images go.
"""

from __future__ import annotations

import re
from typing import Final

from resiliparse.extract.html2text import extract_plain_text

from .charsets import clean_text

MAX_HTML: Final = 1_048_576
"""Characters of HTML that are converted; what follows is cut and flagged."""
HTML_CUT: Final = "html.cut"

# Whole declarations only: as a substring "font-size:0" would also hide font-size:0.9em.
HIDDEN: Final = [
    "[hidden]", '[style*="display:none" i]', '[style*="display: none" i]', '[style*="mso-hide:all" i]',
    '[style*="mso-hide: all" i]', '[style*="visibility:hidden" i]', '[style*="visibility: hidden" i]',
]  # fmt: skip
_UNFINISHED: Final = re.compile(r"<[^<>]*\Z")


def html_to_text(html: str) -> tuple[str, tuple[str, ...]]:
    """The visible text of `html` and flags. Never raises."""
    flags: tuple[str, ...] = ()
    if len(html) > MAX_HTML:
        html, flags = _UNFINISHED.sub("", html[:MAX_HTML]), (HTML_CUT,)
    return clean_text(
        extract_plain_text(clean_text(html), preserve_formatting=True, alt_texts=False, skip_elements=HIDDEN)
    ), flags
