"""What /proc says of the resident memory of this process, in MB (a million bytes); 0 where there is no /proc."""

from __future__ import annotations

import contextlib


def resident() -> float:
    """What is resident now."""
    return _read("VmRSS")


def peak() -> float:
    """The most that was resident since `forget_peak`."""
    return _read("VmHWM")


def forget_peak() -> float:
    """Let the peak begin anew (proc(5), clear_refs 5); what is resident now."""
    with (
        contextlib.suppress(FileNotFoundError, PermissionError),
        open("/proc/self/clear_refs", "w", encoding="ascii") as file,
    ):
        file.write("5")
    return resident()


def _read(field: str) -> float:
    with contextlib.suppress(FileNotFoundError), open("/proc/self/status", encoding="utf-8", errors="replace") as lines:
        return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(field))
    return 0.0
