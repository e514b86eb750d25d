"""Fuzzing of everything that reads foreign bytes: `make fuzz`, or python -m benchmarks.fuzz [--minutes 10] [--target NAME].

First atheris (guided by coverage; Linux on x86-64), each target in a process of its own, then hypothesis, which knows what the
inputs look like. A message may take one second of CPU (process_seconds says when more) and 256 MB. The input that breaks a rule is printed, compressed, as base64; nothing else is.
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import zlib

from . import process_memory
from .process_seconds import SECONDS, excess

ROOT = pathlib.Path(__file__).parents[1]
TARGETS = ("addresses", "body", "charsets", "gmail", "headers", "html")
MEGABYTES = 256
COUNTED = 3
"""How many times as long a message may take while atheris counts every branch of the Python that reads it."""
MAX_INPUT = {
    "addresses": 400_000,
    "headers": 400_000,
    "charsets": 1_500_000,
    "html": 1_500_000,
    "gmail": 1_500_000,
    "body": 1_500_000,
}
"""Bytes that one input grows to at most: more than is read of it."""

_WATCHED = ("dealmail.transforms", "bs4", "email", "html", "quotequail", "publicsuffixlist", "idna")


def check(name: str, data: bytes, times: float = 1) -> None:
    """Run one target on one input, which may take `times` what one message may.

    Raises:
        AssertionError: too slow, or too much memory; and whatever the target raises.
    """
    from tests.fuzz.targets import TARGETS as functions

    before = process_memory.forget_peak()
    seconds = excess(lambda: functions[name](data), times)
    grown = process_memory.peak() - before
    if seconds or grown > MEGABYTES:
        shown = base64.b64encode(zlib.compress(data)).decode()
        msg = f"{name}: {seconds:.1f} s, {grown:.0f} MB for {len(data)} bytes, compressed: {shown}"
        raise AssertionError(msg)


def grown(data: bytes, limit: int) -> bytes:
    """Make a long input of a short one, which no fuzzer of bytes would find: the first says how often to repeat, the second how much."""
    if len(data) < 4 or data[0] < 0xF8:
        return data
    piece, times = data[2 : 3 + data[1] % 64], 8 ** (data[0] - 0xF7)
    return (piece * min(times, limit // len(piece)) + data[3 + data[1] % 64 :])[:limit]


def by_atheris(name: str, folder: pathlib.Path, limits: list[str]) -> None:
    """Guided by coverage, within libFuzzer's `limits`; ends the process, with 0 if nothing was found. `folder` keeps its inputs."""
    import atheris

    with atheris.instrument_imports(include=list(_WATCHED)):
        from tests.fuzz.targets import SEEDS
    for number, one in enumerate(SEEDS[name]):
        (folder / str(number)).write_bytes(one)
    more = ["-max_len=4096", "-timeout=30", "-rss_limit_mb=2048", f"-artifact_prefix={folder}/", str(folder)]
    atheris.Setup([sys.argv[0], *limits, *more], lambda data: check(name, grown(data, MAX_INPUT[name]), COUNTED))
    atheris.Fuzz()


def guided(name: str, seconds: float, runs: int = -1, seed: int = 0) -> subprocess.CompletedProcess[str]:
    """`by_atheris` in a process of its own, until the time or the number of `runs` is up. A `seed` of 0 is another one each time."""
    limits = [f"-max_total_time={max(1, int(seconds))}", f"-runs={runs}", f"-seed={seed}"]
    with tempfile.TemporaryDirectory(prefix="dealmail-fuzz-") as folder:
        command = [sys.executable, "-m", "benchmarks.fuzz", "--atheris", folder, "--target", name, *limits]
        return subprocess.run(
            command, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT
        )


def by_hypothesis(name: str, seconds: float) -> int:
    """Random bytes and structured text until the time is up; how many inputs were tried."""
    from hypothesis import HealthCheck, Phase, given, settings

    from tests.fuzz.targets import INPUTS

    tried = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:

        @settings(
            max_examples=500,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(INPUTS[name])
        def run(data: bytes) -> None:
            check(name, data)

        run()
        tried += 500
    return tried


def main() -> int:
    """Fuzz each target in turn; 1 if something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="in all")
    parser.add_argument("--target", choices=TARGETS)
    parser.add_argument("--atheris", type=pathlib.Path, help=argparse.SUPPRESS)
    options, limits = parser.parse_known_args()
    if options.atheris:
        by_atheris(options.target, options.atheris, limits)
    if limits:
        parser.error(f"unknown: {' '.join(limits)}")
    names = [options.target] if options.target else TARGETS
    has_atheris = importlib.util.find_spec("atheris") is not None
    seconds = options.minutes * 60 / len(names) / (2 if has_atheris else 1)
    failed = False
    for name in names if has_atheris else ():
        run = guided(name, seconds)
        failed |= run.returncode != 0
        print(f"{name:10} atheris: {summary(run.stdout)}" if run.returncode == 0 else run.stdout, flush=True)
    for name in names:
        print(
            f"{name:10} hypothesis: {by_hypothesis(name, seconds)} inputs, none over {SECONDS:g} s or {MEGABYTES} MB",
            flush=True,
        )
    return int(failed)


def summary(output: str) -> str:
    """The number of runs and the coverage from what libFuzzer printed; "" if it ended in no order."""
    found = re.search(r"#(\d+)\s+DONE\s+cov: (\d+) ft: (\d+)", output)
    return "{} inputs, {} edges, {} features".format(*found.groups()) if found else ""


if __name__ == "__main__":
    raise SystemExit(main())
