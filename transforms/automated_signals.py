"""The signals of automated mail: each one small function that looks at a mail and says how strongly it speaks.

A signal says nothing about weights: they are in automated_weights.tsv, one column a version of the rule set. The rules that
need no weighing (delivery reports, automatic replies, calendar mail) are in automated_facts.py.
"""

from __future__ import annotations

from typing import Final

from .automated_evidence import Signal
from .automated_header_signals import HEADER_SIGNALS
from .automated_text_signals import TEXT_SIGNALS

SIGNALS: Final[tuple[Signal, ...]] = (*HEADER_SIGNALS, *TEXT_SIGNALS)
"""Every signal, in the order in which they are looked at."""
