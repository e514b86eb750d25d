"""Where the mail corpora are: test data that is neither committed nor shipped."""

from __future__ import annotations

import os
import pathlib
import tarfile

from dealmail.sandbox.private_server import locked

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]


def find() -> pathlib.Path | None:
    """The unpacked corpora: DEALMAIL_CORPORA, or ../shared/corpora/corpora.tar.xz unpacked once into the cache; else None.

    Raises:
        NotADirectoryError: DEALMAIL_CORPORA names no folder.
    """
    if given := os.environ.get("DEALMAIL_CORPORA"):
        if not pathlib.Path(given).is_dir():
            raise NotADirectoryError(f"DEALMAIL_CORPORA={given} is no folder")
        return pathlib.Path(given)
    archive = CHECKOUT.parent / "shared" / "corpora" / "corpora.tar.xz"
    if not archive.exists():
        return None
    stat = archive.stat()
    with locked("corpora") as cache:
        folder = cache / f"corpora-{stat.st_size}-{int(stat.st_mtime)}"
        if not (folder / ".ready").exists():
            with tarfile.open(archive) as unpacked:
                unpacked.extractall(folder, filter="data")
            (folder / ".ready").touch()
    inner = [entry for entry in folder.iterdir() if entry.is_dir()]
    return inner[0] if len(inner) == 1 else folder


def environment() -> dict[str, str]:
    """The environment of this process, with DEALMAIL_CORPORA and DEALMAIL_EVAL where the corpora can be found."""
    folder = find()
    if folder is None:
        return dict(os.environ)
    beside = CHECKOUT.parent / "shared" / "corpora" / "automated_eval.tsv"
    found = {"DEALMAIL_CORPORA": str(folder)} | ({"DEALMAIL_EVAL": str(beside)} if beside.exists() else {})
    return {**found, **os.environ}
