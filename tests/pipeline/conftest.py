"""Fixtures of the whole-job tests.

prism   path of Beam's Prism runner: DEALMAIL_PRISM, or built once with Go into the cache    [prism]
"""

import os
import pathlib
import shutil
import subprocess

import pytest

from dealmail.sandbox.servers import cache_dir

PRISM = "github.com/apache/beam/sdks/v2/go/cmd/prism@v2.77.0"


@pytest.fixture(scope="session")
def prism() -> pathlib.Path:
    """Prism of the Beam release that is installed; skipped by name where it can be neither found nor built."""
    if given := os.environ.get("DEALMAIL_PRISM"):
        return pathlib.Path(given)
    folder = cache_dir() / "prism-2.77.0"
    binary = folder / "prism"
    if binary.exists():
        return binary
    if shutil.which("go") is None:
        pytest.skip("prism: neither DEALMAIL_PRISM nor Go to build it with")
    folder.mkdir(parents=True, exist_ok=True)
    built = subprocess.run(
        ["go", "install", PRISM],
        env={**os.environ, "GOBIN": str(folder)},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    if built.returncode:
        pytest.skip(f"prism: Go could not build it: {built.stderr.strip().splitlines()[-1:]}")
    return binary
