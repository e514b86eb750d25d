"""Compact tables: millions of short strings, and the way from a text to their numbers, in few large blocks of memory."""

from __future__ import annotations

import bisect
import hashlib
import mmap
import os
import re
import sys
from typing import Any, Final

import numpy as np

_UUID: Final = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SMALLEST: Final = 1 << 16
_PRIVATE: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # shared memory, the default, does not grow
_NUMBER_BITS: Final = 26
_NUMBER_MASK: Final = (1 << _NUMBER_BITS) - 1
_KEYED: Final = hashlib.blake2b(digest_size=9, key=os.urandom(16))
"""Digests are this process's own: nobody outside can make up a text whose digest is another's."""


class Block:
    """Bytes that grow at their end, in pages of their own: growing moves nothing twice, and all goes back when it is dropped.

    On the heap many megabytes would stay with the process each time a table gives way to the next.
    """

    __slots__ = ("_pages", "size")

    def __init__(self) -> None:
        self._pages = mmap.mmap(-1, _SMALLEST, flags=_PRIVATE)
        self.size = 0

    def append(self, data: bytes) -> None:
        """Put `data` at the end."""
        end = self.size + len(data)
        if end > len(self._pages):
            self._grow(max(end, 2 * len(self._pages)))
        self._pages[self.size : end] = data
        self.size = end

    def _grow(self, size: int) -> None:
        """Room for `size` bytes: untouched pages take no memory."""
        try:
            self._pages.resize(size)
        except SystemError:  # no mremap on this system (Python's mmap, resize)
            pages = mmap.mmap(-1, size, flags=_PRIVATE)
            pages[: self.size] = self._pages[: self.size]
            self._pages = pages

    def __getitem__(self, place: slice) -> bytes:
        return self._pages[place]

    def numbers(self, kind: type[np.generic]) -> Any:
        """All of it as an array of `kind`, in place. It does not grow from then on."""
        return np.frombuffer(self._pages, dtype=kind, count=self.size // np.dtype(kind).itemsize)


class Numbers:
    """Whole numbers from 0 to 2**32 - 1, in order."""

    __slots__ = ("_block",)

    def __init__(self) -> None:
        self._block = Block()

    def append(self, number: int) -> None:
        """Put `number` at the end."""
        self._block.append(number.to_bytes(4, sys.byteorder))

    def __len__(self) -> int:
        return self._block.size // 4

    def __getitem__(self, place: int) -> int:
        return int.from_bytes(self._block[slice(4 * place, 4 * place + 4)], sys.byteorder)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._block.size


class Strings:
    """Many short strings in one block of bytes.

    As long as all are UUIDs each takes 16 bytes, and as long as all are equally long no more is kept of where they end.
    """

    __slots__ = ("_are_uuids", "_block", "_count", "_ends", "_width")

    def __init__(self) -> None:
        self._block, self._count = Block(), 0
        self._are_uuids = True
        self._width = 16
        self._ends: Numbers | None = None

    def add(self, text: str) -> int:
        """Keep `text`; returns its number."""
        if self._are_uuids:
            if _UUID.fullmatch(text):
                self._block.append(bytes.fromhex(text.replace("-", "")))
                self._count += 1
                return self._count - 1
            self._spell_out(len(text.encode("utf-8", "surrogatepass")))
        data = text.encode("utf-8", "surrogatepass")
        if self._ends is None and len(data) != self._width:
            self._ends = Numbers()
            for number in range(1, self._count + 1):
                self._ends.append(self._width * number)
        self._block.append(data)
        if self._ends is not None:
            self._ends.append(self._block.size)
        self._count += 1
        return self._count - 1

    def _spell_out(self, width: int) -> None:
        """The first string that is no UUID has come, `width` bytes long: keep those before it as letters."""
        known = Strings.__new__(Strings)
        known._block, known._count, known._ends = self._block, self._count, None
        known._are_uuids, known._width = True, 16
        self._block, self._count = Block(), 0
        self._are_uuids, self._width = False, 36 if known._count else width
        for number in range(known._count):
            self.add(known[number])

    def __getitem__(self, number: int) -> str:
        if self._ends is None:
            start, end = number * self._width, (number + 1) * self._width
        else:
            start, end = (self._ends[number - 1] if number else 0), self._ends[number]
        data = self._block[start:end]
        if not self._are_uuids:
            return str(data, "utf-8", "surrogatepass")
        digits = data.hex()
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._block.size + (0 if self._ends is None else self._ends.nbytes)


class Index:
    """A multimap from text to the numbers of its entries: digests of 70 bits, sorted in place.

    An entry is 38 bits of digest above its 26-bit number, and 32 more bits in the order of the numbers. A text that was never
    added is taken for one that was with probability n / 2**70: with a million, once in a thousand million million.
    """

    __slots__ = ("_keys", "_keys_block", "_rest", "count")

    def __init__(self) -> None:
        self._keys_block, self._rest = Block(), Numbers()
        self.count = 0

    def add(self, key: str) -> int:
        """Let `key` lead to one more entry; returns its number.

        Raises:
            OverflowError: there are more than 67 million.
        """
        if self.count >> _NUMBER_BITS:
            raise OverflowError(f"an index holds at most {1 << _NUMBER_BITS} entries")
        high, low = _halves(key)
        self._keys_block.append((high << _NUMBER_BITS | self.count).to_bytes(8, sys.byteorder))
        self._rest.append(low)
        self.count += 1
        return self.count - 1

    def seal(self) -> None:
        """No more comes: sort."""
        keys = self._keys_block.numbers(np.uint64)
        keys.sort()
        self._keys = memoryview(keys)  # a number of an array takes numpy several times as long

    def get(self, key: str) -> list[int]:
        """The numbers of the entries of `key`, in the order they were added."""
        if not self.count:
            return []
        high, low = _halves(key)
        place = bisect.bisect_left(self._keys, high << _NUMBER_BITS)
        found = []
        while place < self.count and (entry := self._keys[place]) >> _NUMBER_BITS == high:
            number = entry & _NUMBER_MASK
            if self._rest[number] == low:
                found.append(number)
            place += 1
        return found

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._keys_block.size + self._rest.nbytes


class Numbering:
    """Numbers texts in the order in which they are first seen: a dict of as many would take six times the memory."""

    __slots__ = ("_rest", "_slots")

    def __init__(self) -> None:
        self._slots, self._rest = _slots(1 << 10), Numbers()

    def number(self, key: str) -> tuple[int, bool]:
        """The number of `key`, and whether it is new."""
        high, low = _halves(key)
        place = self._place(high, low)
        if found := self._slots[place]:
            return (found & _NUMBER_MASK) - 1, False
        self._rest.append(low)
        count = len(self._rest)
        self._slots[place] = high << _NUMBER_BITS | count
        if 2 * count > len(self._slots):
            self._grow()
        return count - 1, True

    def _place(self, high: int, low: int) -> int:
        """Where the key of these digits is, or would be."""
        last = len(self._slots) - 1
        place = low & last
        while slot := self._slots[place]:
            if slot >> _NUMBER_BITS == high and self._rest[(slot & _NUMBER_MASK) - 1] == low:
                break
            place = (place + 1) & last
        return place

    def _grow(self) -> None:
        old, self._slots = self._slots, _slots(2 * len(self._slots))
        last = len(self._slots) - 1
        for slot in filter(None, old):
            place = self._rest[(slot & _NUMBER_MASK) - 1] & last
            while self._slots[place]:
                place = (place + 1) & last
            self._slots[place] = slot


def _slots(count: int) -> memoryview:
    return memoryview(mmap.mmap(-1, 8 * count, flags=_PRIVATE)).cast("Q")


def _halves(key: str) -> tuple[int, int]:
    """38 and 32 bits that stand for `key` in this process."""
    hashing = _KEYED.copy()  # the key went in once: a third of the time
    hashing.update(key.encode("utf-8", "surrogatepass"))
    digest = int.from_bytes(hashing.digest(), "big") >> 2
    return digest >> 32, digest & 0xFFFFFFFF
