"""A Flink of one's own for tests: Beam's job server with an embedded cluster in one JVM, and a pool that starts Python workers.

Flink 1.19 with Beam's runner 2.70, the newest that Maven has whole, under a job of the installed Beam. Fetched once into the
cache, as the other servers are.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from types import TracebackType

from dealmail.sandbox.elasticsearch_server import java_home
from dealmail.sandbox.private_server import free_port, locked, run_tool

PARTS = pathlib.Path(__file__).with_name("flink_job_server.xml")
COPY_PARTS = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
OPENED = (
    "java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.text", "java.time", "java.util",
    "java.util.concurrent", "java.util.concurrent.atomic", "sun.nio.ch",
)  # fmt: skip
"""Packages of the JDK that Flink 1.19 reaches into (its own start scripts open the same)."""
JOB_SERVICE = re.compile(r"JobService started on \S+:(\d+)")
COMPLETED = re.compile(r"Completed checkpoint (\d+) ")
RESTORED = re.compile(r"Restoring job \w+ from Checkpoint (\d+)")


def job_server_jars() -> pathlib.Path:
    """The folder with the job server's jars, 162 of them; fetched with mvn once (157 MB).

    Raises:
        ServerUnavailableError: no Java 17, no mvn, or no network.
    """
    java_home()
    with locked("flink") as cache:
        folder = cache / "flink-1.19-beam-2.70.0"
        if not (folder / ".ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            command = ["mvn", "-B", "-q", "-f", str(PARTS), COPY_PARTS, f"-DoutputDirectory={folder}"]
            run_tool("flink", command, 900)
            (folder / ".ready").touch()
        return folder


class FlinkEngine:
    """A context manager: `options` submit a job to it, `checkpoints` counts what it completed. All of it ends with the block.

    A job on the embedded cluster cannot be cancelled: it says so and lives on until its JVM is killed, which leaving does.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        """Nothing is started yet; `folder` takes logs and temporary files.

        Raises:
            ServerUnavailableError: see `job_server_jars`.
        """
        self._jars = job_server_jars()
        self._folder = folder
        self._tmp = folder / "tmp"
        self._tmp.mkdir(parents=True)
        self._log = folder / "job_server.log"
        self._job_port = self._pool_port = 0
        self._pool: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def options(self, checkpoint_s: float) -> list[str]:
        """The job's command line."""
        return [
            "--runner=PortableRunner", f"--job_endpoint=localhost:{self._job_port}", "--parallelism=1",
            "--environment_type=EXTERNAL", f"--environment_config=localhost:{self._pool_port}",
            f"--checkpointing_interval={checkpoint_s * 1000:.0f}", "--max_bundle_time_mills=200",
        ]  # fmt: skip

    def __enter__(self) -> FlinkEngine:
        opened = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED]
        server = [
            str(java_home() / "bin" / "java"), *opened, "-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            f"-Djava.io.tmpdir={self._tmp}", "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS", "-cp", f"{self._jars}/*", "org.apache.beam.runners.flink.FlinkJobServerDriver",
            "--flink-master=[local]", "--job-port=0", "--artifact-port=0", "--expansion-port=0",
            f"--artifacts-dir={self._tmp / 'artifacts'}",
        ]  # fmt: skip
        python_first = f"{pathlib.Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
        env = {**os.environ, "PATH": python_first, "TMPDIR": str(self._tmp)}  # the pool starts `python` from PATH
        try:
            self._server = self._launch(server, self._log, env)
            self._start_pool(env)
            self._job_port = self._port_of_jobs()
        except AssertionError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (self._server, self._pool):
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)

    def checkpoints(self) -> int:
        """How many checkpoints have been completed."""
        return len(COMPLETED.findall(self._log.read_text(errors="replace")))

    def restored(self) -> list[int]:
        """The checkpoints that the job was taken back to."""
        return [int(number) for number in RESTORED.findall(self._log.read_text(errors="replace"))]

    def workers(self) -> list[int]:
        """The Python workers' process ids."""
        assert self._pool is not None
        children = pathlib.Path(f"/proc/{self._pool.pid}/task").glob("*/children")
        return [int(pid) for file in children for pid in file.read_text().split()]

    @staticmethod
    def _launch(command: list[str], log: pathlib.Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
        with log.open("wb") as out:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True, env=env,
            )  # fmt: skip

    def _port_of_jobs(self, seconds: float = 240) -> int:
        """The port that the job server says it has taken."""
        assert self._server is not None
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._server.poll() is None:
            if found := JOB_SERVICE.search(self._log.read_text(errors="replace")):
                return int(found[1])
            time.sleep(0.1)  # a JVM starts in real time, and tells its port in its log alone
        raise AssertionError(f"no Flink: {self._log.read_text(errors='replace')[-2000:]}")

    def _start_pool(self, env: dict[str, str], seconds: float = 240) -> None:
        """A pool that listens; on another port where somebody took the first one in between."""
        end = time.monotonic() + seconds
        log = self._folder / "pool.log"
        while time.monotonic() < end:
            if self._pool is None or self._pool.poll() is not None:
                self._pool_port = free_port()
                port = f"--service_port={self._pool_port}"
                self._pool = self._launch(
                    [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", port], log, env
                )
            with contextlib.suppress(OSError), socket.create_connection(("localhost", self._pool_port), 1):
                return
            time.sleep(0.1)  # the pool starts in real time, and says nothing when it listens
        raise AssertionError(f"no worker pool: {log.read_text(errors='replace')[-2000:]}")
