"""Private MariaDB and Elasticsearch servers on loopback, fetched through the package managers a machine already has.

For trying dealmail out on its real stores and for the tests; no Docker, nothing to configure. A server listens on
127.0.0.1 on a free port, keeps everything in one directory, and ends with the process that started it (Linux:
PR_SET_PDEATHSIG, which watches the starting *thread*: start servers from the main thread). Started by root, it runs as
the user nobody.

`python -m dealmail.sandbox.servers mariadb|elasticsearch [--data DIR]` runs one until Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import pathlib
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence

ELASTICSEARCH_VERSION = "8.19.21"
"""The default: runs on the Java 17 that machines have. DEALMAIL_ELASTICSEARCH_VERSION names another of those below."""
ELASTICSEARCH_SHA256 = {
    "8.19.21": "215d5f3dbf0609a149f6218a9e47b6ae2df34ebbff3c5754e35f15a5e5393c8a",
    "9.1.10": "1f1a7071a7402d5c7a605eec0b86a797971cd66eed5c22748ca44ffb37653460",
}
ELASTICSEARCH_ARTIFACT = "org.elasticsearch.distribution.integ-test-zip:elasticsearch:{version}:zip"
MAVEN_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
JAVA_NEEDED = {"8": 17, "9": 21}
"""By the server's major version."""
MARIADB_PACKAGES = ("mariadb-server-core", "mariadb-client-core")
"""The server's own tools are in the second one: without it mariadb-install-db does not run."""


class ServerUnavailableError(Exception):
    """The machine cannot have the server. The text is one line: why, and what would help."""


def cache_dir() -> pathlib.Path:
    """Where fetched servers are kept: DEALMAIL_CACHE, else ~/.cache/dealmail; for root, where nobody may read."""
    given = os.environ.get("DEALMAIL_CACHE")
    if given:
        path = pathlib.Path(given).absolute()
    elif os.getuid() == 0:
        path = pathlib.Path("/var/tmp/dealmail-cache")  # noqa: S108 (root's home is closed to the user nobody)
    else:
        path = pathlib.Path.home() / ".cache" / "dealmail"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(name: str) -> Iterator[pathlib.Path]:
    """The cache directory, while no other process holds the lock `name`."""
    cache = cache_dir()
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield cache


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_tool(what: str, command: Sequence[str], timeout: float, **options: object) -> str:
    """Run a package manager or set-up tool and return what it printed.

    Raises:
        ServerUnavailableError: it is missing, fails or takes longer than `timeout` seconds; with its last line.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
            **options,  # type: ignore[call-overload]  # env, cwd, user as Popen takes them
        )
    except FileNotFoundError:
        raise ServerUnavailableError(f"{what}: {command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise ServerUnavailableError(f"{what}: {command[0]} did not end within {timeout:.0f} s") from None
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()] or ["no output"]
        said = next((line for line in lines if "ERROR" in line or line.startswith("E:")), lines[-1])
        raise ServerUnavailableError(f"{what}: {command[0]} failed: {said.strip()[:300]}")
    return done.stdout


class Server:
    """A server process with its directory. `start` works again after `kill`: the data stays."""

    name = "server"

    def __init__(self, data: pathlib.Path | None) -> None:
        """`data`: a directory to keep, made where missing; None: a temporary one that `stop` removes."""
        self._temporary = data is None
        if data is None:
            self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"dealmail-{self.name}-", dir="/var/tmp"))
        else:
            self.dir = data.absolute()
            self.dir.mkdir(parents=True, exist_ok=True)
        self._as_user: dict[str, object] = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            closed = next((p for p in self.dir.parents if not p.stat().st_mode & 0o001), None)
            if closed is not None:
                msg = (
                    f"{self.name}: runs as the user nobody, who cannot enter {closed}; give a data directory elsewhere"
                )
                raise ServerUnavailableError(msg)
        self._process: subprocess.Popen[bytes] | None = None

    def _own(self) -> None:
        """Hand the directory to the user the server runs as."""
        if self._as_user:
            run_tool(
                self.name, ["chown", "-R", f"{self._as_user['user']}:{self._as_user['group']}", str(self.dir)], 120
            )

    def _launch(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        watched = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        with (self.dir / "out").open("ab") as out:
            self._process = subprocess.Popen(
                [*watched, *command],
                cwd=self.dir,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self._as_user,  # type: ignore[call-overload]  # user, group, extra_groups
            )

    def _ended_within(self, seconds: float) -> bool:
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _not_started(self) -> ServerUnavailableError:
        self.kill()
        lines = (self.dir / "out").read_text(errors="replace").splitlines()
        said = next(
            (line for line in lines if re.search(r"\b(ERROR|FATAL|Exception)\b", line)),
            lines[-1] if lines else "no output",
        )
        return ServerUnavailableError(f"{self.name} did not start: {said.strip()[:300]} (see {self.dir / 'out'})")

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End the process, by default as a power cut would; the data stays and `start` works again."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        if not self._ended_within(60):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
        self._process = None

    def stop(self) -> None:
        """End the process in good order; remove the directory if it is a temporary one."""
        self.kill(signal.SIGKILL if self._temporary else signal.SIGTERM)
        if self._temporary:
            shutil.rmtree(self.dir, ignore_errors=True)


# --- MariaDB ---------------------------------------------------------------------------------------------------------
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


# --- Elasticsearch ---------------------------------------------------------------------------------------------------
def elasticsearch_version() -> str:
    """The version to run.

    Raises:
        ServerUnavailableError: DEALMAIL_ELASTICSEARCH_VERSION names one whose SHA-256 is not known here.
    """
    version = os.environ.get("DEALMAIL_ELASTICSEARCH_VERSION") or ELASTICSEARCH_VERSION
    if version not in ELASTICSEARCH_SHA256:
        raise ServerUnavailableError(
            f"elasticsearch: no version {version} here; DEALMAIL_ELASTICSEARCH_VERSION takes {', '.join(ELASTICSEARCH_SHA256)}"
        )
    return version


def java_home(needed: int = JAVA_NEEDED["8"]) -> pathlib.Path:
    """The home of a Java that is new enough: ES_JAVA_HOME, JAVA_HOME, else the `java` on PATH.

    Raises:
        ServerUnavailableError: there is none, or it is older than `needed`.
    """
    given = os.environ.get("ES_JAVA_HOME") or os.environ.get("JAVA_HOME")
    java = shutil.which(f"{given}/bin/java" if given else "java")
    if java is None:
        raise ServerUnavailableError(f"elasticsearch: needs Java {needed} or newer; there is no java on PATH")
    said = run_tool("elasticsearch", [java, "-version"], 60)
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < needed:
        raise ServerUnavailableError(
            f"elasticsearch: needs Java {needed} or newer; {java} is {version[1] if version else 'unknown'}"
        )
    return pathlib.Path(java).resolve().parents[1]


def elasticsearch_home() -> pathlib.Path:
    """The unpacked distribution, SHA-256 checked; fetched with mvn once (or DEALMAIL_ELASTICSEARCH_ZIP, a zip at hand).

    Raises:
        ServerUnavailableError: no mvn, no network, another file than expected, or see `elasticsearch_version`.
    """
    version = elasticsearch_version()
    with locked("elasticsearch") as cache:
        home = cache / f"elasticsearch-{version}"
        if (home / ".ready").exists():
            return home
        shutil.rmtree(home, ignore_errors=True)
        archive = pathlib.Path(os.environ.get("DEALMAIL_ELASTICSEARCH_ZIP", cache / f"{home.name}.zip"))
        if not archive.exists():
            artifact = ELASTICSEARCH_ARTIFACT.format(version=version)
            command = ["mvn", "-B", "-q", MAVEN_COPY, f"-Dartifact={artifact}", f"-DoutputDirectory={cache}"]
            run_tool("elasticsearch", command, 600)
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        expected = ELASTICSEARCH_SHA256[version]
        if digest != expected:
            raise ServerUnavailableError(
                f"elasticsearch: {archive} has SHA-256 {digest}, expected {expected}; remove it"
            )
        with zipfile.ZipFile(archive) as unpacked:
            unpacked.extractall(cache)
        (home / ".ready").touch()
        return home


class ElasticsearchServer(Server):
    """A one-node Elasticsearch of one's own, without sign-in (loopback only)."""

    name = "elasticsearch"

    def __init__(
        self,
        data: pathlib.Path | None = None,
        *,
        heap: str = "512m",
        quick: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare the directory and the configuration.

        Args:
            data: where to keep everything; None: a temporary directory.
            heap: the JVM's heap, as -Xmx takes it.
            quick: start some seconds faster and run at half the speed (first compiler only): for functional tests.
            settings: further lines of elasticsearch.yml.

        Raises:
            ServerUnavailableError: no Java new enough, or see `elasticsearch_version` and `elasticsearch_home`.
        """
        java = java_home(JAVA_NEEDED[elasticsearch_version().partition(".")[0]])
        self._home = elasticsearch_home()
        super().__init__(data)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = self.dir / "config"
        for folder in (config, self.dir / "data", self.dir / "logs", self.dir / "tmp"):
            folder.mkdir(exist_ok=True)
        shutil.copy(self._home / "config" / "log4j2.properties", config)
        lines = {
            "discovery.type": "single-node",
            "network.host": "127.0.0.1",
            "http.port": self.port,
            "transport.port": free_port(),
            "path.data": self.dir / "data",
            "path.logs": self.dir / "logs",
            "xpack.security.enabled": "false",
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            **(settings or {}),
        }
        (config / "elasticsearch.yml").write_text("".join(f"{name}: {value}\n" for name, value in lines.items()))
        options = [
            f"-Xms{heap}",
            f"-Xmx{heap}",
            "-XX:+UseSerialGC",
            "-Djava.io.tmpdir=${ES_TMPDIR}",
            "-XX:+ExitOnOutOfMemoryError",
        ]
        options += ["-XX:TieredStopAtLevel=1"] if quick else []
        (config / "jvm.options").write_text("\n".join(options) + "\n")
        self._env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "ES_JAVA_HOME": str(java),
            "ES_PATH_CONF": str(config),
            "ES_TMPDIR": str(self.dir / "tmp"),
            "CLI_JAVA_OPTS": "-XX:TieredStopAtLevel=1",
            "HOME": str(self.dir),
        }
        self._own()

    def start(self, wait: float = 240) -> ElasticsearchServer:
        """Start and return self once the cluster is healthy, at most `wait` seconds later.

        Raises:
            ServerUnavailableError: it ended or did not answer.
        """
        self._launch(["bash", str(self._home / "bin" / "elasticsearch")], self._env)
        health = f"{self.url}/_cluster/health?wait_for_status=yellow&timeout=10s"
        for _ in range(int(wait / 0.1)):
            if self._ended_within(0.1):
                break
            with contextlib.suppress(OSError, http.client.HTTPException):
                urllib.request.urlopen(health, timeout=30).close()  # noqa: S310 (our own http address)
                return self
        raise self._not_started()


def keep(
    kind: str, data: pathlib.Path | None, ready: pathlib.Path | None, watch: int, quick: bool, stopped: threading.Event
) -> int:
    """Run one server until `stopped` is set or process `watch` (0: none) is gone; `ready` gets its address as JSON."""
    try:
        server = (
            MariaDbServer(data, quick=quick) if kind == "mariadb" else ElasticsearchServer(data, quick=quick)
        ).start()
        answer = {"url": server.url, "password_ref": getattr(server, "password_ref", "")}
    except ServerUnavailableError as error:
        server, answer = None, {"unavailable": str(error)}
    if ready is not None:
        new = ready.with_suffix(".new")
        new.write_text(json.dumps(answer))
        new.replace(ready)
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    if server is None:
        return 1
    try:
        while not stopped.wait(1):
            if watch and not _alive(watch):
                break
    finally:
        server.stop()
    return 0


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one server until it is told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m dealmail.sandbox.servers", description="Run a private server until Ctrl-C."
    )
    parser.add_argument("kind", choices=["mariadb", "elasticsearch"])
    parser.add_argument("--data", type=pathlib.Path, help="keep everything here (default: a temporary directory)")
    parser.add_argument(
        "--ready", type=pathlib.Path, help="write the address to this file, as JSON, once it can be used"
    )
    parser.add_argument("--watch", type=int, default=0, metavar="PID", help="stop when this process is gone")
    parser.add_argument("--quick", action="store_true", help="faster start, slower run: for tests")
    options = parser.parse_args(arguments)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *unused: stopped.set())
    return keep(options.kind, options.data, options.ready, options.watch, options.quick, stopped)


if __name__ == "__main__":
    sys.exit(main())
