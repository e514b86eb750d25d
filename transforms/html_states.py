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
    stack, depth, in_rows = state.stack, len(state.stack), is_in_rows(state)
    if FRAME <= number <= BODY:
        if stack and stack[-1] == A:
            raise UnusualError
        return AT_BODY if state == START and number == BODY else state
    if state == START:
        state = state if number >= HIDDEN else AT_BODY
    elif number == TITLE + HIDDEN:
        raise UnusualError
    if number >= HIDDEN:
        inner = opened(state, number - HIDDEN)
        return inner._replace(stack=(*stack, number), outer=state)
    if number < BLOCK:
        if in_rows or depth > _MAX_OPEN:
            raise UnusualError
        return state._replace(stack=(*stack, number))
    if number == BR:
        if in_rows:
            raise UnusualError
        return state._replace(margin=state.margin + 1 if state.margin < 2 else 2, blank=True, last=depth)
    in_paragraph = any(PARAGRAPH <= one % HIDDEN < TABLE for one in stack)
    if in_paragraph or depth > _MAX_OPEN or in_rows != (ROWS <= number < BR):
        raise UnusualError
    if number == HR:
        return state._replace(margin=state.margin or 1, blank=True, last=depth)
    if number >= TD:
        if not ROW <= stack[-1] < TD:
            raise UnusualError
        if not state.cells:
            lead = LINES[state.margin] if state.margin and state.begun else state.lead
            return state._replace(stack=(*stack, number), margin=0, lead=lead)
        lead = LINES[state.margin if state.begun else 0] if state.margin else state.lead
        if CELL not in lead:
            lead += CELL
        return state._replace(stack=(*stack, number), margin=0, blank=False, lead=lead)
    if in_rows and not TABLE <= stack[-1] < (ROW if number >= ROW else ROWS):
        raise UnusualError
    margin = 2 if BIG <= number < TABLE else state.margin or 1
    cells = state.cells and number < TABLE
    return state._replace(stack=(*stack, number), margin=margin, blank=True, last=depth, cells=cells)


def closed(state: State, number: int) -> State:
    """The state after the end tag of `number`."""
    if not state.stack:
        raise UnusualError
    stack, opened = state.stack[:-1], state.stack[-1]
    if opened != number:
        if opened != number + HIDDEN or state.outer is None:
            raise UnusualError
        return state.outer
    depth = len(stack)
    if number < BLOCK:
        if depth < state.last:
            return state._replace(stack=stack, blank=False, last=depth)
        return state._replace(stack=stack)
    if number >= TD:
        return state._replace(stack=stack, cells=True)
    if ROW <= number < TD and not state.cells:
        raise UnusualError  # an empty row ends nothing
    margin = 2 if BIG <= number < TABLE else state.margin or 1
    return state._replace(stack=stack, margin=margin, blank=True, last=depth)
