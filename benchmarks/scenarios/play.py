"""One scenario, played: events and bad weather round by round, then calm, then the verdict."""

from __future__ import annotations

import os
import pathlib
import pickle
import shutil
import tempfile
import time

from . import judging
from .plan import Plan, Result
from .processes import Shared
from .weather import Weather
from .world import World


def play(plan: Plan, template: pathlib.Path, keep: pathlib.Path | None = None) -> Result:
    """Play a scenario over a copy of the empty database `template`; files are kept in `keep` where given."""
    began = time.monotonic()
    shm = pathlib.Path("/dev/shm")  # noqa: S108 (a folder of our own in it)
    folder = keep or pathlib.Path(tempfile.mkdtemp(prefix="dealmail-chaos-", dir=shm if shm.is_dir() else None))
    if folder.exists():
        shutil.rmtree(folder)  # an older run's write-ahead log would spoil the new database
    folder.mkdir(parents=True)
    try:
        world = World(plan, folder, template)
        try:
            _run(world, Weather(world))
        finally:
            world.close()
        if keep is not None:
            (keep / "truth.pickle").write_bytes(pickle.dumps(world.truth))
        result = world.result
        result.log = world.log.read_text(errors="replace") if world.log.exists() else ""
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    result.seconds, used = time.monotonic() - began, os.times()
    result.cpu_seconds = used.user + used.system + used.children_user + used.children_system
    return result


def _run(world: World, weather: Weather) -> None:
    """From the first opt-in to the verdict."""
    world.events.load()
    world.opt_in()
    if not world.plan.calm:
        weather.blow()
    for number in range(world.plan.rounds):
        _round(world, weather, expire=number == world.plan.seed % world.plan.rounds)
    _calm_down(world, weather)
    judging.judge(world)


def _round(world: World, weather: Weather, *, expire: bool) -> None:
    calm = world.plan.calm
    world.start(world.fuse())
    parts = 1 if calm else world.chance.randrange(1, 4)
    for part in range(parts):
        world.events.happen(world.plan.events_a_round // parts)
        if not calm and expire and not part:
            weather.expire_cursors()  # at least once in every scenario
        elif not calm and world.chance.random() < 0.6:
            weather.trouble()
        world.let_work(looks=1 if part + 1 < parts else 2)
        world.advance(world.chance.choice([3, 20, 65, 130, 400, 1000, 4000]))
    world.let_work(looks=1)
    if calm or world.chance.random() < 0.3:
        return
    world.kill()
    world.advance(world.chance.choice([1, 11, 130]))


def _calm_down(world: World, weather: Weather) -> None:
    """Good weather, every consent back, and time to poll: what must be there at the end is there after it."""
    world.kill()
    world.client.set_faults()
    for address in world.addresses:
        world.client.set_state(address, "ok")
    with world.moving():
        world.clock.add(Shared.JOB, -world.clock.get(Shared.JOB))
    world.consent_again()
    world.calm_since = world.clock.true_now()
    world.start()
    world.come_to_rest()
    if not world.plan.calm:
        weather.outlast(("watch", "messages.list", "history.list")[world.plan.seed % 3])
    judging.audit(world, repair=True)
    world.let_work(looks=2, patience=60, restarts=0)
    world.kill(counted=False)
