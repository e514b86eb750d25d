"""Fuzzing of everything that reads foreign bytes: `make fuzz`, or python -m benchmarks.fuzz [--minutes 10] [--target NAME].

With atheris (coverage-guided; an optional package) where it is installed, else with hypothesis and a clock. A message may take
one second of CPU and 256 MB. The input that breaks a rule is printed as base64, nothing else is.
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import resource
import sys
import time

from tests.fuzz.targets import TARGETS

SECONDS = 1.0
MEGABYTES = 256


def check(name: str, data: bytes) -> None:
    """Run one target on one input.

    Raises:
        AssertionError: too slow, or too much memory; and whatever the target raises.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    TARGETS[name](data)
    seconds = time.process_time() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    if seconds > SECONDS or grown > MEGABYTES:
        msg = f"{name}: {seconds:.1f} s, {grown} MB for {base64.b64encode(data[:100_000]).decode()}"
        raise AssertionError(msg)


def by_atheris(name: str, seconds: float) -> None:
    """Coverage-guided; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["dealmail.transforms"]):
        from dealmail.transforms import addresses, charsets, headers, html_text, plain_text, quotes  # noqa: F401 (instrumented)
    atheris.Setup([sys.argv[0], f"-max_total_time={int(seconds)}", "-timeout=10"], lambda data: check(name, data))
    atheris.Fuzz()


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
    """Fuzz each target in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="in all")
    parser.add_argument("--target", choices=sorted(TARGETS))
    options = parser.parse_args()
    names = [options.target] if options.target else sorted(TARGETS)
    seconds = options.minutes * 60 / len(names)
    if options.target and importlib.util.find_spec("atheris"):
        by_atheris(options.target, seconds)
    for name in names:
        print(f"{name:10} {by_hypothesis(name, seconds)} inputs, no error, none over {SECONDS:g} s or {MEGABYTES} MB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
