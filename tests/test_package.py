"""What is installed on a worker: the wheel has all the job needs and nothing else, and works away from the checkout."""

from __future__ import annotations

import io
import os
import pathlib
import subprocess
import sys
import tarfile
import zipfile

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]
CONSOLE = ("-c", "import sys; from dealmail.console.main import main; sys.exit(main())")


def run(*command: str, cwd: pathlib.Path, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=240, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An sdist, and the wheel that is built from it, of the files that git knows: what `--setup_file` stages, too."""
    folder = tmp_path_factory.mktemp("package")
    known = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, check=True).stdout
    for name in known.decode().split("\0"):
        source, target = CHECKOUT / name, folder / "source" / name
        if source.is_file() and not source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    run("-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), cwd=folder / "source")
    return folder / "dist"


@pytest.fixture(scope="module")
def installed(built: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The wheel unpacked, as pip lays it into site-packages."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(next(built.glob("*.whl"))).extractall(folder)
    return folder


def test_the_wheel_holds_the_rooms_and_no_more(built: pathlib.Path) -> None:
    names = zipfile.ZipFile(next(built.glob("*.whl"))).namelist()
    rooms = {name.split("/")[1] for name in names if name.startswith("dealmail/")}
    assert rooms == {"pipeline", "transforms", "io", "sandbox", "console"}
    for room in rooms:
        sources = {
            str(path.relative_to(CHECKOUT))
            for path in (CHECKOUT / room).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert {name.removeprefix("dealmail/") for name in names if name.startswith(f"dealmail/{room}/")} == sources


def test_the_sdist_holds_no_test_mail(built: pathlib.Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = archive.getnames()
    assert [name for name in names if name.endswith((".eml", ".mbox", ".xz"))] == []


def test_it_works_away_from_the_checkout(installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The migrations, the weights and the command are found in the installed package, not in the checkout."""
    where = run("-c", "import dealmail.io.migrate as m; print(m.__file__)", cwd=tmp_path, PYTHONPATH=str(installed))
    assert pathlib.Path(where.strip()).is_relative_to(installed)
    database = f"--database=sqlite:///{tmp_path / 'dealmail.db'}"
    run(*CONSOLE, database, "db", "upgrade", cwd=tmp_path, PYTHONPATH=str(installed))
    run(*CONSOLE, database, "db", "check", cwd=tmp_path, PYTHONPATH=str(installed))
    signals = run(*CONSOLE, "rules", "signals", cwd=tmp_path, PYTHONPATH=str(installed))
    assert len(signals.splitlines()) > 20
    script = tmp_path / "run_pipeline.py"
    script.write_bytes((CHECKOUT / "run_pipeline.py").read_bytes())
    assert "--subscription" in run(str(script), "--help", cwd=tmp_path, PYTHONPATH=str(installed))


def test_the_entry_point_names_a_function(built: pathlib.Path, installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    wheel = zipfile.ZipFile(next(built.glob("*.whl")))
    (listed,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    text = io.TextIOWrapper(wheel.open(listed)).read()
    assert "dealmail = dealmail.console.main:main" in text
    run("-c", "from dealmail.console.main import main; assert callable(main)", cwd=tmp_path, PYTHONPATH=str(installed))


def test_the_image_is_built_from_files_that_are_there() -> None:
    """Docker is not at hand everywhere; what it copies, and what it is let see, can be looked at without."""
    dockerfile = (CHECKOUT / "Dockerfile").read_text()
    copied = [
        word
        for line in dockerfile.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    assert copied
    seen = {
        line[1:].rstrip("/") for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    for name in copied:
        assert (CHECKOUT / name).exists(), name
        assert name.split("/")[0] in seen, f".dockerignore hides {name}"
    beam = next(
        line for line in (CHECKOUT / "requirements" / "lock.txt").read_text().splitlines() if "apache-beam" in line
    )
    version = beam.partition("==")[2].split()[0]
    assert f"sdk:{version} " in dockerfile, f"the worker's boot program must be of Beam {version}"


def test_the_image_has_the_locked_versions_and_no_tools_of_developers() -> None:
    def pinned(name: str) -> set[str]:
        lines = (CHECKOUT / "requirements" / name).read_text().splitlines()
        return {line.split()[0] for line in lines if "==" in line.partition(";")[0] and not line.startswith((" ", "#"))}

    locked, image = pinned("lock.txt"), pinned("image.txt")
    assert image < locked
    names = {line.partition("==")[0] for line in image}
    assert {"apache-beam", "sqlalchemy", "pymysql", "elasticsearch"} <= {name.partition("[")[0] for name in names}
    assert not names & {"pytest", "hypothesis", "atheris", "ruff", "mypy"}


def test_a_worker_starts_in_the_image_as_its_own_user() -> None:
    """Beam's boot program ends at once where it cannot make a virtual environment and is not told to do without."""
    words = [line.split() for line in (CHECKOUT / "Dockerfile").read_text().splitlines()]
    (user,) = [line[1] for line in words if line[:1] == ["USER"]]
    assert user not in {"root", "0"}
    assert ["ENV", "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1"] in words
