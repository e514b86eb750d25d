"""Where a walk over the tree of usual HTML (html_usual) stands, and how each tag moves it on."""

from __future__ import annotations

from typing import Final, NamedTuple

from .html_tags import (
    BIG,
    BLOCK,
    BODY,
    BR,
    FRAME,
    HIDDEN,
    HR,
    PARAGRAPH,
    ROW,
    ROWS,
    SHEET,
    TABLE,
    TD,
    TITLE,
    A,
    UnusualError,
)

_MAX_OPEN: Final = 100
# Within the bytes of the text: the end of a line, the tab between cells.
LINE, CELL = b"\x04", b"\x05"
LINES: Final = (b"", LINE, LINE * 2)


class State(NamedTuple):
    """Where the walk over a page's tree stands, as far as what follows depends on it.

    What stands between blocks is a margin, of which the greatest counts, and each br adds to it. Blank space between the begin or
    end of a block and the next words goes (`blank`); it stays where these stand beside an inline element that held the block,
    which is why the walk must know how deep that stands which began or ended `last`.
    """

    stack: tuple[int, ...] = ()
    margin: int = 0
    blank: bool = True
    last: int = 0
    lead: bytes = b""  # blanks that go before the next words, or are dropped with the next block
    trailed: bool = False  # the last words end in a space, so that no other is added
    begun: bool = False  # there was a word
    cells: bool = False  # the row has one
    outer: State | None = None  # the state around the outermost element that is not shown


START: Final = State()
AT_BODY: Final = State(blank=False)


def spaced(state: State) -> State:
    """The state after blank space that stays."""
    if state.margin:
        return state if state.trailed or state.lead else state._replace(margin=0, lead=LINES[state.margin] + b" ")
    return state if state.trailed or state.lead else state._replace(lead=b" ")


def before(state: State) -> bytes:
    """The blanks that go before the next words."""
    return LINES[state.margin] if state.margin else state.lead


def is_in_rows(state: State) -> bool:
    """Whether only rows and cells may follow."""
    return bool(state.stack) and TABLE <= state.stack[-1] % HIDDEN < TD


def opened(state: State, number: int) -> State:
    """The state after the start tag of `number`."""
    if state == START:
        if number >= FRAME:
            return _first(number)
        state = AT_BODY
    elif number == TITLE + HIDDEN:
        raise UnusualError
    stack, margin, blank, _last, lead, trailed, begun, cells, outer = (
        state  # written out: _replace takes three times as long
    )
    depth = len(stack)
    in_rows = depth > 0 and TABLE <= stack[-1] % HIDDEN < TD
    if number < BLOCK:
        if in_rows or depth > _MAX_OPEN:
            raise UnusualError
        return State((*stack, number), margin, blank, _last, lead, trailed, begun, cells, outer)
    if number == BR:
        if in_rows:
            raise UnusualError
        return State(stack, min(margin + 1, 2), True, depth, lead, trailed, begun, cells, outer)
    if number >= FRAME:
        if number >= HIDDEN:
            return opened(state, number - HIDDEN)._replace(stack=(*stack, number), outer=state)
        if depth and stack[-1] == A:
            raise UnusualError
        return state
    if depth > _MAX_OPEN or in_rows != (ROWS <= number < BR) or _in_paragraph(stack):
        raise UnusualError
    if number == HR:
        return State(stack, margin or 1, True, depth, lead, trailed, begun, cells, outer)
    if number >= TD:
        if not ROW <= stack[-1] < TD:
            raise UnusualError
        if margin and (begun or cells):
            lead = LINES[margin if begun else 0]
        if cells:
            return State(
                (*stack, number), 0, False, _last, lead if CELL in lead else lead + CELL, trailed, begun, cells, outer
            )
        return State((*stack, number), 0, blank, _last, lead, trailed, begun, cells, outer)
    if in_rows and not TABLE <= stack[-1] < (ROW if number >= ROW else ROWS):
        raise UnusualError
    margin = 2 if BIG <= number < TABLE else margin or 1
    return State((*stack, number), margin, True, depth, lead, trailed, begun, cells and number < TABLE, outer)


def _first(number: int) -> State:
    """The state after the first tag of a page where that is of the page's frame, or of an element that is not shown."""
    if number < HIDDEN:
        return AT_BODY if number == BODY else START
    outer = START if number - HIDDEN in {SHEET, TITLE} else AT_BODY  # those two may stand in the head
    return opened(AT_BODY, number - HIDDEN)._replace(stack=(number,), outer=outer)


def _in_paragraph(stack: tuple[int, ...]) -> bool:
    """Whether the innermost block may hold no other; within it there are only inline elements."""
    for one in reversed(stack):
        if one % HIDDEN >= BLOCK:
            return PARAGRAPH <= one % HIDDEN < TABLE
    return False


def closed(state: State, number: int) -> State:
    """The state after the end tag of `number`."""
    stack, margin, blank, last, lead, trailed, begun, cells, outer = state
    if not stack:
        raise UnusualError
    innermost, stack = stack[-1], stack[:-1]
    if innermost != number:
        if innermost != number + HIDDEN or outer is None:
            raise UnusualError
        return outer
    depth = len(stack)
    if number < BLOCK:
        if depth < last:
            blank, last = False, depth
        return State(stack, margin, blank, last, lead, trailed, begun, cells, outer)
    if number >= TD:
        return State(stack, margin, blank, last, lead, trailed, begun, True, outer)
    if ROW <= number < TD and not cells:
        raise UnusualError  # an empty row ends nothing
    margin = 2 if BIG <= number < TABLE else margin or 1
    return State(stack, margin, True, depth, lead, trailed, begun, cells, outer)
