"""A private Elasticsearch on loopback: a distribution of known SHA-256, fetched with Maven, on a Java that is there."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import pathlib
import re
import shutil
import urllib.request
import zipfile
from collections.abc import Mapping

from .private_server import Server, ServerUnavailableError, free_port, locked, run_tool

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
