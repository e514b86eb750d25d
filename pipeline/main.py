"""The entry: options in, graph built, runner started; errors of the options in one line, before anything starts."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import sqlalchemy as sa

from ..io.pubsub import NoCredentialsError
from ..io.secret_refs import SecretNotFoundError
from ..io.vault import VaultError
from ..transforms.errors import DealmailError, StoreUnavailableError
from . import edges
from .engines import run_local, submit
from .log_levels import quiet_libraries
from .log_lines import log_to_stderr
from .machine_checks import require_tools
from .options import OptionError, parse
from .runner_options import check_runner_options


def main(argv: Sequence[str]) -> int:
    """Run the job as `argv` says; the exit code: 0 done, 1 it failed, 2 an option cannot be used."""
    try:
        options, rest = parse(argv)
        check_runner_options(options, rest)
        require_tools(options)
        log_to_stderr(options.log_level)
        quiet_libraries()
        if options.is_local:  # elsewhere the workers reach the stores, and the launching machine need not
            edges.check(options)
    except (OptionError, SecretNotFoundError, VaultError) as error:
        return _refused(2, str(error))
    except DealmailError as error:
        return _refused(1, str(error))
    except sa.exc.OperationalError as error:
        code = next(iter(getattr(error.orig, "args", ())), "")
        return _refused(1, f"the database refused ({type(error.orig).__name__} {code})")
    if options.is_local:
        try:
            return run_local(options)
        except NoCredentialsError as error:
            return _refused(2, str(error))
        except StoreUnavailableError as error:  # with --once; the service waits
            return _refused(1, f"a store is not to be reached; what is not done comes again ({_first_line(error)})")
    submit(options, rest)
    return 0


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _refused(code: int, why: str) -> int:
    sys.stderr.write(f"run_pipeline.py: {why}\n")
    return code
