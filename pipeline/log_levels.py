"""What the libraries may log: nothing below INFO, where Beam writes down elements, and Google's client search terms and addresses."""

from __future__ import annotations

import logging
from typing import Final

_CLIENTS: Final = (
    "google",
    "googleapiclient",
    "google_auth_httplib2",
    "elastic_transport",
    "elasticsearch",
    "urllib3",
    "httplib2",
)
"""Their INFO lines speak of every request; their DEBUG lines show it."""
_BEAM: Final = ("apache_beam", "apache_beam.runners.worker", "apache_beam.runners.worker.operations")


def keep_mail_out() -> None:
    """In every process that works: whatever level a runner gives its workers, no library logs mail or whom it is with."""
    for name in _CLIENTS:
        logging.getLogger(name).setLevel(logging.WARNING)
    for logger in map(logging.getLogger, _BEAM):
        logger.setLevel(max(logger.getEffectiveLevel(), logging.INFO))


def quiet_libraries() -> None:
    """In the process that a person started, whose log is dealmail's own."""
    keep_mail_out()
    for name in (*_BEAM, "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # What these two say at length io/pubsub.py says in a line: a stream that could not be opened, credentials not found.
    for name in ("google.api_core.bidi", "google.auth"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
