"""The CRM directory at full size: memory, build time, look-ups a second, and what a refresh costs.

Usage: python -m benchmarks.bench_crm [--contacts 1000000] [--domains 100000]
"""

from __future__ import annotations

import argparse
import datetime as dt
import gc
import random
import time

from dealmail.transforms.crm_directory import CrmDirectory, CrmRows
from dealmail.transforms.domains import company_domain
from dealmail.transforms.records import Participant

from . import process_memory

ID = "{:08x}-0000-4000-8000-{:012x}"


def rows(contacts: int, domains: int) -> CrmRows:
    """Generated rows, one at a time: ids as long as UUIDs, ten contacts an account, an open opportunity for every tenth account."""
    accounts = max(domains, 1)
    return CrmRows(
        users=((f"u{number}", f"user{number}@own.example") for number in range(100)),
        own_domains=["own.example"],
        account_domains=((f"company{number}.example", ID.format(1, number)) for number in range(domains)),
        contacts=(
            (
                ID.format(2, number),
                f"first{number}.last@company{number % accounts}.example",
                ID.format(1, number % accounts),
            )
            for number in range(contacts)
        ),
        leads=(
            (ID.format(3, number), f"lead{number}@elsewhere{number}.example", None) for number in range(contacts // 20)
        ),
        opportunities=(
            (ID.format(4, number), ID.format(1, number * 10), f"u{number % 100}", dt.date(2026, 1, 1))
            for number in range(accounts // 10)
        ),
        blocked=[("", f"blocked{number}.example") for number in range(1000)],
    )


def look_up(directory: CrmDirectory, contacts: int, domains: int, lookups: int) -> tuple[float, float]:
    """Seconds for so many look-ups of addresses nobody asked for before, and for a tenth as many links of those."""
    shuffle = random.Random(7)
    hits = [
        f"first{(number := shuffle.randrange(contacts))}.last@company{number % max(domains, 1)}.example"
        for _ in range(lookups * 3 // 10)
    ]
    misses = [
        f"x{shuffle.randrange(10**9)}@stranger{shuffle.randrange(10**6)}.example" for _ in range(lookups - len(hits))
    ]
    mixed = [(Participant(address),) for address in shuffle.sample(hits + misses, lookups)]
    started = time.process_time()
    found = sum(directory.has_match(one) for one in mixed)
    matched = time.process_time() - started
    started = time.process_time()
    for one in mixed[: lookups // 10]:
        directory.links(one)
    if found < len(hits):
        raise SystemExit(f"only {found} of {len(hits)} contacts were found")
    return matched, time.process_time() - started


def measure(contacts: int, domains: int, lookups: int = 100_000) -> dict[str, float]:
    """Figures by name: seconds, megabytes, look-ups a second."""
    company_domain("warm.example")
    base = process_memory.forget_peak()
    started = time.process_time()
    directory = CrmDirectory.build("t", 1, rows(contacts, domains))
    build = time.process_time() - started
    gc.collect()
    alone, first_peak = process_memory.resident() - base, process_memory.peak() - base
    process_memory.forget_peak()
    second = CrmDirectory.build("t", 2, rows(contacts, domains))
    both, refresh_peak = process_memory.resident() - base, process_memory.peak() - base
    del directory
    gc.collect()
    after = process_memory.resident() - base
    matched, linked = look_up(second, contacts, domains, lookups)
    return {
        "build, CPU s": build,
        "tables of one directory, MB": second.nbytes / 1e6,
        "one directory, resident MB": alone,
        "peak while it is built, MB": first_peak,
        "old and new side by side, MB": both,
        "peak of a refresh, MB": refresh_peak,
        "once the old one is gone, MB": after,
        "look-ups a CPU second, 30 % hits, cold": lookups / matched,
        "links a CPU second, warm": lookups / 10 / linked,
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", type=int, default=1_000_000)
    parser.add_argument("--domains", type=int, default=100_000)
    options = parser.parse_args()
    for name, value in measure(options.contacts, options.domains).items():
        print(f"{name:40s} {value:14,.1f}")


if __name__ == "__main__":
    main()
