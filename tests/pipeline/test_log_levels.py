"""Whatever level a runner gives its workers, their log holds no mail and no search terms."""

import datetime as dt
import logging

import apache_beam as beam
import pytest
from google.auth.credentials import AnonymousCredentials

from dealmail.io.gmail import Gmail
from dealmail.pipeline import log_levels
from dealmail.pipeline.edges import OpenEdges
from dealmail.pipeline.inbox import PassInput, ReadInbox
from dealmail.pipeline.local_service import GraphPass
from dealmail.pipeline.options import JobOptions
from dealmail.transforms.errors import GmailUnavailableError

MARKER = "marker-of-a-strangers-mail"


@pytest.fixture
def at_debug(caplog):
    """As on a worker that was started with --default_sdk_harness_log_level=DEBUG, and overrides on top."""
    names = [*log_levels._CLIENTS, *log_levels._BEAM]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    with caplog.at_level(logging.DEBUG):
        yield caplog
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def work_on_marker():
    """Of the operations of Beam's worker that write elements down, one that FnApiRunner leaves to the worker."""

    def lay_out(root, inbox):
        elements = root | ReadInbox(inbox, "notifications", bytes)
        return elements | beam.Map(lambda one: (1, one)) | beam.CombinePerKey(beam.combiners.ToListCombineFn())

    graph = GraphPass(lay_out)
    graph.run(PassInput(notifications=(MARKER.encode(),)))
    graph.close()


def search_for_marker():
    gmail = Gmail(AnonymousCredentials(), endpoint="http://127.0.0.1:1", now=lambda: dt.datetime.now(dt.UTC))
    with pytest.raises(GmailUnavailableError):
        gmail.list_page(f"from:{MARKER}@corp.example")


@pytest.mark.parametrize("work", [work_on_marker, search_for_marker])
def test_a_worker_that_logs_everything_logs_no_mail(work, at_debug):
    OpenEdges(JobOptions())
    work()
    assert MARKER not in at_debug.text


@pytest.mark.parametrize("work", [work_on_marker, search_for_marker])
def test_the_libraries_by_themselves_would(work, at_debug):
    """Else the test above could not fail."""
    work()
    assert MARKER in at_debug.text
