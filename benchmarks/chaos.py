"""Fault scenarios with fixed seeds, and an oracle that knows every event.

    python -m benchmarks.chaos [--seeds 200] [--first 0] [--jobs 2] [--keep FOLDER]

Each seed feeds a known stream of events to 20 mailboxes of a sandbox Gmail while calls fail, notifications get lost, doubled
and delayed, cursors and tokens end, clocks jump, jobs are killed by SIGKILL and run twice. See docs/chaos.md. Exit code 1 where
anything was lost, doubled or wrong.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import pathlib
import pickle
import select
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence

from dealmail.io import migrate
from dealmail.io.database import Database, DatabaseSpec
from dealmail.pipeline import edges, engines
from dealmail.pipeline.inbox import PassInput
from dealmail.pipeline.options import JobOptions
from dealmail.transforms.records import Tick

from .scenarios import processes
from .scenarios.plan import Plan, Result
from .scenarios.play import play


def prepare(folder: pathlib.Path) -> pathlib.Path:
    """Make this process a warm parent; returns an empty database to copy."""
    template = folder / "template.db"

    def make() -> None:
        database = Database(DatabaseSpec(f"sqlite:///{template}"))
        migrate.upgrade(database)
        database.close()  # the last connection brings everything into the file

    log = folder / "prepare.log"
    maker = processes.fork(make, log)
    if maker.wait():
        raise RuntimeError(log.read_text())
    processes.remember_signatures()
    options = JobOptions(database=DatabaseSpec(f"sqlite:///{template}"))
    processes.warm_up(
        lambda: engines.local_graph(options), lambda graph: graph.run(PassInput(ticks=(Tick(edges.utc_now()),))), log
    )
    return template


def play_all(plans: Sequence[Plan], jobs: int, keep: pathlib.Path | None = None) -> Iterator[Result]:
    """Play scenarios, `jobs` side by side, each in a process of its own; results as they come."""
    with tempfile.TemporaryDirectory(prefix="dealmail-chaos-") as name:
        template = prepare(pathlib.Path(name))
        waiting = collections.deque(plans)
        running: dict[int, tuple[Plan, int]] = {}
        while waiting or running:
            while waiting and len(running) < jobs:
                plan = waiting.popleft()
                running_pid, pipe = _fork_play(plan, template, keep)
                running[running_pid] = (plan, pipe)
            ready, _, _ = select.select([pipe for _, pipe in running.values()], [], [])
            for pid, (plan, pipe) in list(running.items()):
                if pipe in ready:
                    with os.fdopen(pipe, "rb") as file:
                        data = file.read()
                    os.waitpid(pid, 0)
                    del running[pid]
                    yield pickle.loads(data) if data else _broken(plan)  # noqa: S301 (our own child wrote it)


def _fork_play(plan: Plan, template: pathlib.Path, keep: pathlib.Path | None) -> tuple[int, int]:
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    code = 1
    try:
        os.close(reading)
        result = play(plan, template, keep / f"seed{plan.seed}" if keep else None)
        with os.fdopen(writing, "wb") as file:
            file.write(pickle.dumps(result))
        code = 0
    except BaseException:  # noqa: BLE001 (a child must never return into its parent's program)
        traceback.print_exc()
    finally:
        os._exit(code)


def _broken(plan: Plan) -> Result:
    result = Result(plan.seed, completeness=0.0)
    result.verdict.wrong.append("the scenario itself broke down; its words are above")
    return result


def table(results: Sequence[Result], seconds: float) -> str:
    """What all scenarios came to."""
    faults: collections.Counter[str] = collections.Counter()
    for result in results:
        faults.update(result.faults)
    rows = {
        "scenarios": len(results), "mailbox events": sum(r.events for r in results),
        "messages": sum(r.messages for r in results), "faults injected": sum(faults.values()),
        "kills (SIGKILL)": sum(r.kills for r in results), "lost": sum(len(r.verdict.lost) for r in results),
        "doubled": sum(len(r.verdict.doubled) for r in results), "wrong": sum(len(r.verdict.wrong) for r in results),
        "audits below 100 %": sum(r.completeness < 100 for r in results),
        "copies whose deletion a lost history hid": sum(r.repaired for r in results),
        "minutes whose units were judged": sum(r.minutes for r in results),
        "of these with more than one quota, a clock being moved": sum(r.shared_minutes for r in results),
        "most units of a mailbox in a minute, in % of its quota": max((r.peak_mailbox for r in results), default=0),
        "most units of the project in a minute, in % of its quota": max((r.peak_project for r in results), default=0),
        "seconds": round(seconds),
        "CPU seconds": round(sum(r.cpu_seconds for r in results)), "passes of the graph": sum(r.passes for r in results),
    }  # fmt: skip
    width = max(len(name) for name in rows)
    lines = [f"{name:<{width}}  {value:>8,}" for name, value in rows.items()]
    return "\n".join([*lines, "", "faults: " + ", ".join(f"{name} {count:,}" for name, count in faults.most_common())])


def describe(result: Result, lines: int = 12) -> str:
    """What is amiss in one scenario."""
    verdict = result.verdict
    found = [f"  {kind}: {text}" for kind in ("lost", "doubled", "wrong") for text in getattr(verdict, kind)]
    said = [f"  log: {line}" for line in result.log.splitlines()[-2 * lines :]] if found else []
    return "\n".join([f"seed {result.seed}: audit {result.completeness:.1f} %", *found[:lines], *said])


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, print the table; 1 where anything is amiss."""
    parser = argparse.ArgumentParser(description="Play fault scenarios and compare what is stored with what happened.")
    parser.add_argument("--seeds", type=int, default=200, help="how many (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: %(default)s)")
    parser.add_argument("--only", help="these seeds, with commas between them")
    parser.add_argument(
        "--jobs", type=int, default=max(2, os.cpu_count() or 2), help="side by side (default: %(default)s)"
    )
    parser.add_argument("--keep", type=pathlib.Path, help="keep databases and logs in this folder")
    parser.add_argument("--calm", action="store_true", help="good weather: what the scenarios are without faults")
    given = parser.parse_args(arguments)
    seeds = range(given.first, given.first + given.seeds)
    plans = [Plan(seed, calm=given.calm) for seed in ([int(n) for n in given.only.split(",")] if given.only else seeds)]
    began, results = time.monotonic(), []
    with contextlib.suppress(KeyboardInterrupt):
        for result in play_all(plans, given.jobs, given.keep):
            results.append(result)
            if not result.is_good:
                print(describe(result), flush=True)
            if sys.stderr.isatty():
                print(f"\r{len(results)}/{len(plans)}", end="", file=sys.stderr)
    print(table(results, time.monotonic() - began))
    return 0 if len(results) == len(plans) and all(result.is_good for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
