"""The local service: passes run, acknowledge after, give back on failure, and sleep when nothing is due."""

import datetime as dt
import logging
import tempfile
import threading

import apache_beam as beam
import pytest

from dealmail.pipeline.inbox import PassInput, ReadInbox
from dealmail.pipeline.local_service import GraphPass, LocalService
from dealmail.transforms.errors import StoreUnavailableError
from dealmail.transforms.records import Tick

NOW = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
SEEN = []


class Refuse(beam.DoFn):
    """Remembers what it sees; raises what the data names."""

    def process(self, data):
        SEEN.append(data)
        if data == b"store":
            raise StoreUnavailableError("database: OperationalError 2003")
        if data == b"bug":
            raise ZeroDivisionError
        if data == b"claim":
            beam.metrics.Metrics.counter("test", "claimed").inc()
        beam.metrics.Metrics.counter("test", "seen").inc()
        yield data


def graph(root, inbox):
    root | "Notes" >> ReadInbox(inbox, "notifications", bytes) | "See" >> beam.ParDo(Refuse())
    root | "Ticks" >> ReadInbox(inbox, "ticks", Tick)


class Message:
    def __init__(self, data):
        self.data = data


class Source:
    """A subscription in a list: what is given back comes first again."""

    def __init__(self, *waiting, stop=None):
        self.waiting, self.acked, self.nacked, self.stop = [Message(d) for d in waiting], [], [], stop

    def take(self, timeout_s, limit):
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        if not taken and self.stop:
            self.stop.set()
        return taken

    def ack(self, received):
        self.acked += [m.data for m in received]

    def nack(self, received):
        self.nacked += [m.data for m in received]

    def close(self):
        pass


def service(source, stop=None, next_due=lambda now: None):
    SEEN.clear()
    return LocalService(GraphPass(graph), source, next_due, lambda: (), now=lambda: NOW, stop=stop or threading.Event())


def test_a_graph_built_once_runs_over_other_input_each_time():
    SEEN.clear()
    passes = GraphPass(graph)
    assert passes.run(PassInput((b"a", b"b"))) == {"seen": 2}
    assert passes.run(PassInput((b"c",))) == {"seen": 1}
    assert passes.run(PassInput()) == {}
    assert SEEN == [b"a", b"b", b"c"]


def test_no_pass_leaves_anything_in_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    GraphPass(graph).run(PassInput((b"a",)))
    assert list(tmp_path.iterdir()) == []


def test_notifications_are_acknowledged_after_the_pass():
    source = Source(b"a", b"b")
    local = service(source)
    assert local.run_once() == 1
    assert (source.acked, source.nacked, SEEN) == ([b"a", b"b"], [], [b"a", b"b"])


def test_a_failed_pass_gives_everything_back_and_is_loud():
    source = Source(b"a", b"bug")
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        service(source).run()
    assert (source.acked, source.nacked) == ([], [b"a", b"bug"])


def test_a_store_that_is_down_is_waited_out():
    stop = threading.Event()
    source = Source(b"store", stop=stop)
    service(source, stop).run()
    assert (source.acked, source.nacked) == ([], [b"store"])


def test_the_last_pass_is_said_while_nothing_more_happens(clock, caplog):
    """The clock stands still while the pass runs, and an idle look finds the minute over."""
    caplog.set_level(logging.INFO, "dealmail.pipeline.pass_log")
    stop, looks = threading.Event(), []

    class Idle(Source):
        def take(self, timeout_s, limit):
            looks.append(len(caplog.records))
            if len(looks) == 2:
                clock.advance(minutes=1)
            if len(looks) == 3:
                stop.set()
            return super().take(timeout_s, limit)

    source = Idle(b"claim")
    LocalService(GraphPass(graph), source, lambda now: None, lambda: (), now=clock, stop=stop).run()
    assert looks == [0, 0, 1]


def down_at_first(stop):
    """A question to the database that cannot be reached the first time; asked again, it ends the service."""
    asked = []

    def ask(*unused):
        asked.append(1)
        if len(asked) == 1:
            raise StoreUnavailableError("database: OperationalError 2013")
        stop.set()

    return ask, asked


def test_a_store_that_is_down_while_nothing_is_due_is_waited_out():
    stop = threading.Event()
    ask, asked = down_at_first(stop)
    service(Source(), stop, ask).run()
    assert len(asked) == 2


def test_what_was_pulled_is_given_back_when_the_crm_cannot_be_asked():
    stop = threading.Event()
    ask, asked = down_at_first(stop)
    source = Source(b"a", b"b", stop=stop)
    local = LocalService(GraphPass(graph), source, lambda now: None, ask, now=lambda: NOW, stop=stop)
    local.run()
    assert (len(asked), source.acked, source.nacked) == (1, [], [b"a", b"b"])


def test_nothing_due_runs_no_pass():
    assert service(Source()).run_once() == 0


def test_a_due_mailbox_runs_a_pass_without_any_notification():
    due = iter([NOW, NOW + dt.timedelta(minutes=5), NOW + dt.timedelta(minutes=5)])
    assert service(Source(), next_due=lambda now: next(due)).run_once() == 1


def test_waiting_ends_when_the_next_mailbox_is_due():
    assert service(Source())._wait_s(NOW + dt.timedelta(milliseconds=250)) == pytest.approx(0.25)
