"""A private MariaDB on loopback, from the machine's own packages or fetched with apt-get."""

from __future__ import annotations

import os
import pathlib
import re
import secrets
import shutil
import tempfile
from collections.abc import Sequence

from .private_server import Server, ServerUnavailableError, free_port, locked, run_tool

MARIADB_PACKAGES = ("mariadb-server-core", "mariadb-client-core")
"""The server's own tools are in the second one: without it mariadb-install-db does not run."""


def mariadb_programs() -> tuple[dict[str, str], dict[str, str], list[str]]:
    """What starts MariaDB: ({program: path}, extra environment, options both programs need); fetched where missing.

    Installed programs come first; else root installs them with apt-get; else they are unpacked into the cache, which
    needs no rights.

    Raises:
        ServerUnavailableError: none of the three works here.
    """
    with locked("mariadb") as cache:
        found = _installed_mariadb()
        if found:
            return found, {}, []
        root = cache / "mariadb"
        if not (root / ".ready").exists():
            if not shutil.which("apt-get"):
                msg = "mariadb: no mariadbd on PATH and no apt-get to fetch it; install the MariaDB server package"
                raise ServerUnavailableError(msg)
            if os.getuid() == 0:
                env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
                run_tool("mariadb", ["apt-get", "-q", "update"], 300, env=env)
                run_tool(
                    "mariadb", ["apt-get", "-qy", "install", "--no-install-recommends", *MARIADB_PACKAGES], 600, env=env
                )
                found = _installed_mariadb()
                if found:
                    return found, {}, []
                raise ServerUnavailableError("mariadb: apt-get installed the packages, but there is no mariadbd")
            _unpack_mariadb(root)
    libraries = ":".join(sorted({str(p.parent) for p in root.glob("**/lib/**/*.so*")}))
    programs = {"mariadbd": f"{root}/usr/sbin/mariadbd", "mariadb-install-db": f"{root}/usr/bin/mariadb-install-db"}
    return (
        programs,
        {"LD_LIBRARY_PATH": libraries},
        [f"--basedir={root}/usr", f"--lc-messages-dir={root}/usr/share/mysql"],
    )


def _installed_mariadb() -> dict[str, str] | None:
    where = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = {name: shutil.which(name, path=where) for name in ("mariadbd", "mariadb-install-db")}
    tools = shutil.which("my_print_defaults", path=where)
    return {name: path for name, path in found.items() if path} if tools and all(found.values()) else None


def _unpack_mariadb(root: pathlib.Path) -> None:
    """Download the packages and the libraries this machine lacks, apt-get's own state kept in `root`; unpack them."""
    shutil.rmtree(root, ignore_errors=True)
    lists, debs = root / "apt" / "lists", root / "apt" / "debs"
    (lists / "partial").mkdir(parents=True)
    (debs / "partial").mkdir(parents=True)
    apt = [
        "apt-get",
        "-q",
        "-o",
        f"Dir::State::Lists={lists}",
        "-o",
        f"Dir::Cache={root / 'apt'}",
        "-o",
        f"Dir::Cache::archives={debs}",
        "-o",
        "Debug::NoLocking=1",
    ]
    run_tool("mariadb", [*apt, "update"], 300)
    plan = run_tool("mariadb", [*apt, "--simulate", "--no-install-recommends", "install", *MARIADB_PACKAGES], 120)
    wanted = sorted(set(re.findall(r"^Inst (\S+)", plan, re.MULTILINE)))
    run_tool("mariadb", [*apt, "download", *wanted], 600, cwd=debs)
    for deb in sorted(debs.glob("*.deb")):
        run_tool("mariadb", ["dpkg-deb", "-x", str(deb), str(root)], 120)
    shutil.rmtree(root / "apt")
    (root / ".ready").touch()


class MariaDbServer(Server):
    """A MariaDB of one's own. Its user dealmail may use the databases whose names begin with `dealmail`."""

    name = "mariadb"

    def __init__(self, data: pathlib.Path | None = None, *, options: Sequence[str] = (), quick: bool = False) -> None:
        """Prepare the directory; a new one gets its system tables (some seconds).

        Args:
            data: where to keep everything; None: a temporary directory.
            options: further mariadbd options, as on its command line.
            quick: do not wait for the disk at each commit; a killed process still loses nothing.

        Raises:
            ServerUnavailableError: see `mariadb_programs`.
        """
        self._programs, self._env, self._options = mariadb_programs()
        super().__init__(data)
        self._extra = [*(["--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0"] if quick else []), *options]
        self.port = free_port()
        self.url = f"mysql+pymysql://dealmail@127.0.0.1:{self.port}/dealmail"
        self.password_file = self.dir / "password"
        self._run = pathlib.Path(
            tempfile.mkdtemp(prefix="dealmail-run-", dir="/var/tmp")
        )  # a socket path must be short
        if self._as_user:
            os.chown(self._run, int(str(self._as_user["user"])), int(str(self._as_user["group"])))
        if not self.password_file.exists():
            self.password_file.touch(mode=0o600)
            self.password_file.write_text(secrets.token_urlsafe(24))
        if not (self.dir / "data" / "mysql").is_dir():
            self._own()
            run_tool(
                "mariadb",
                [
                    self._programs["mariadb-install-db"],
                    "--no-defaults",
                    *self._options,
                    f"--datadir={self.dir / 'data'}",
                    "--skip-test-db",
                    "--skip-name-resolve",
                    "--auth-root-authentication-method=normal",
                    f"--tmpdir={self._run}",
                ],
                120,
                env={**os.environ, **self._env},
                **self._as_user,
            )
        self._own()

    @property
    def password_ref(self) -> str:
        """The password's name in the form dealmail options take."""
        return f"file:{self.password_file}"

    def start(self, wait: float = 60) -> MariaDbServer:
        """Start and return self once the user dealmail can sign in, at most `wait` seconds later.

        Raises:
            ServerUnavailableError: it ended or did not answer.
        """
        import pymysql

        sock = str(self._run / "s")
        command = [
            self._programs["mariadbd"],
            "--no-defaults",
            *self._options,
            f"--datadir={self.dir / 'data'}",
            f"--socket={sock}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--pid-file={self._run / 'pid'}",
            f"--tmpdir={self._run}",
            "--skip-name-resolve",
            "--innodb-log-file-size=64M",
            "--innodb-buffer-pool-size=128M",
            *self._extra,
        ]
        self._launch(command, {**os.environ, **self._env})
        for _ in range(int(wait / 0.05)):
            if self._ended_within(0.05):
                break
            try:
                connection = pymysql.connect(unix_socket=sock, user="root")
            except pymysql.err.OperationalError:
                continue
            with connection, connection.cursor() as cursor:
                cursor.execute(
                    "create database if not exists dealmail character set utf8mb4 collate utf8mb4_unicode_ci"
                )
                cursor.execute("create user if not exists dealmail@'127.0.0.1'")
                cursor.execute(
                    "set password for dealmail@'127.0.0.1' = password(%s)", (self.password_file.read_text(),)
                )
                cursor.execute("grant all on `dealmail%`.* to dealmail@'127.0.0.1'")
            return self
        raise self._not_started()

    def stop(self) -> None:
        """End the process in good order; remove what is temporary."""
        super().stop()
        shutil.rmtree(self._run, ignore_errors=True)
