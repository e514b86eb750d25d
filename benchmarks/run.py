"""`make bench`: every benchmark in turn, each in a process of its own; ratios are measured side by side within one process.

python -m benchmarks.run [NAME ...]      names without bench_, such as settle or content
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
from collections.abc import Sequence

from .corpora import environment

HERE = pathlib.Path(__file__).parent


def modules(prefix: str, names: Sequence[str]) -> list[str]:
    """The modules of this folder that begin with `prefix`, all or those named.

    Raises:
        SystemExit: a name that is none of them.
    """
    found = {file.stem.removeprefix(prefix): file.stem for file in sorted(HERE.glob(f"{prefix}*.py"))}
    if unknown := [name for name in names if name not in found]:
        raise SystemExit(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(found)}")
    return [found[name] for name in names or found]


def run_all(prefix: str, names: Sequence[str]) -> int:
    """Run them; how many did not end well."""
    failed = []
    for module in modules(prefix, names):
        print(f"\n=== {module} " + "=" * (110 - len(module)), flush=True)
        if subprocess.run(
            [sys.executable, "-m", f"benchmarks.{module}"], check=False, cwd=HERE.parent, env=environment()
        ).returncode:
            failed.append(module)
    if failed:
        print(f"\nmissed a goal or did not run: {', '.join(failed)}", flush=True)
    return len(failed)


if __name__ == "__main__":
    sys.exit(min(run_all("bench_", sys.argv[1:]), 1))
