"""`make quality`: what the rules and the reading of text reach on real mail, beside what other products reach.

python -m benchmarks.quality [NAME ...]      rules, text
"""

from __future__ import annotations

import sys

from .run import run_all

if __name__ == "__main__":
    sys.exit(min(run_all("quality_", sys.argv[1:]), 1))
