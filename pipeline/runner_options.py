"""Options of Beam's own runners: the ones each needs, those it knows, and what a run adds by itself."""

from __future__ import annotations

import argparse
import pathlib
import re
import urllib.parse
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from apache_beam.options.pipeline_options import (
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    _BeamArgumentParser,  # Beam's options add themselves to no other parser
)

from .options import JobOptions, OptionError, did_you_mean, make_parser

ON_FLINK: Final = ("FlinkRunner", "PortableRunner")

FLINK_NEEDS: Final = {
    "checkpointing_interval": "--checkpointing_interval=10000",  # ms; notifications are acknowledged by checkpoint, else never
    "finish_bundle_before_checkpointing": "--finish_bundle_before_checkpointing",  # without it a restored job can stand still
}
"""Options of Beam's Flink job server that a run cannot do without, by name; what the command line says comes first."""

FLINK_KNOWS: Final = frozenset(["allow_non_restored_state", "attached_mode", "auto_watermark_interval", "checkpoint_timeout_millis", "checkpointing_interval", "checkpointing_mode", "disable_metrics", "enable_stable_input_drain", "execution_retry_delay", "externalized_checkpoints_enabled", "fail_on_checkpointing_errors", "faster_copy", "files_to_stage", "finish_bundle_before_checkpointing", "flink_conf_dir", "job_check_interval_in_secs", "jobmanager_memory", "latency_tracking_interval", "max_bundle_size", "max_bundle_time_mills", "max_parallelism", "min_pause_between_checkpoints", "number_of_concurrent_checkpoints", "number_of_execution_retries", "object_reuse", "operator_chaining", "parallelism", "retain_externalized_checkpoints_on_cancellation", "savepoint_path", "shutdown_sources_after_idle_ms", "state_backend", "state_backend_factory", "state_backend_storage_path", "tolerable_checkpoint_failure_number", "unaligned_checkpoint_enabled"])  # fmt: skip
"""Names that only the Java side of Flink's runner knows (its FlinkPipelineOptions)."""

_NEEDED: Final = {
    "DataflowRunner": {"project": "PROJECT", "region": "europe-west1", "temp_location": "gs://BUCKET/FOLDER"},
    "PortableRunner": {"job_endpoint": "HOST:PORT"},
}
_FORMS: Final = {
    "temp_location": r"gs://[^/]+(/.*)?",
    "staging_location": r"gs://[^/]+(/.*)?",
    "job_endpoint": r"[^/:]+:\d+",
}
_SHOWN: Final = {
    "temp_location": "gs://BUCKET/FOLDER",
    "staging_location": "gs://BUCKET/FOLDER",
    "job_endpoint": "HOST:PORT",
}
_FILES: Final = ("flink_job_server_jar", "prism_location", "setup_file", "requirements_file")

_ON_DATAFLOW: Final = ("sdk_container_image", "setup_file", "extra_packages")
_ELSEWHERE: Final = ("environment_config", "environment_options", "setup_file", "extra_packages")
"""Options by which workers can come to have dealmail: without any they are Beam's own image, and each of them fails on its import.
Outside Dataflow Beam passes over --sdk_container_image, and takes an image from --environment_config."""
_DATAFLOW_TAKES: Final = "--sdk_container_image=REGISTRY/dealmail:TAG --sdk_location=container"
_OTHERS_TAKE: Final = "--environment_type=EXTERNAL --environment_config=HOST:50000, or DOCKER and REGISTRY/dealmail:TAG"


class _Refusing(_BeamArgumentParser):  # type: ignore[misc]  # Beam's is untyped
    def error(self, message: str) -> NoReturn:
        raise OptionError(f"{message}; see --help")


def check_runner_options(options: JobOptions, rest: Sequence[str]) -> None:
    """Refuse what the runner of `options` does not know, could not use, or lacks: `rest` is what is meant for it.

    Raises:
        OptionError: one line that names it.
    """
    if options.is_local:
        return
    parser = _Refusing(allow_abbrev=False, conflict_handler="resolve")
    for kind in _subclasses(PipelineOptions):
        kind._add_argparse_args(parser)  # the hook by which Beam's options declare themselves
    given, unknown = parser.parse_known_args(list(rest))
    for option in unknown:
        name = option.removeprefix("--").partition("=")[0]
        if not option.startswith("--") or not (options.runner in ON_FLINK and name in FLINK_KNOWS):
            shown = option.partition("=")[0]  # what it says may be a secret
            close = did_you_mean(shown, make_parser()) or did_you_mean(shown, parser)
            raise OptionError(f"unknown option {shown}{close}; see --help, and Beam's own options of {options.runner}")
    for name, shown in _NEEDED.get(options.runner, {}).items():
        if not getattr(given, name):
            raise OptionError(f"--runner={options.runner} needs --{name}={shown}")
    for name, form in _FORMS.items():
        value = getattr(given, name, None)
        named = name == "job_endpoint" or options.runner == "DataflowRunner"
        if value and value != "embed" and named and not re.fullmatch(form, str(value)):
            raise OptionError(f"--{name}={value}: use {_SHOWN[name]}")
    if getattr(given, "update", False):
        # The steps' names are no promise, and Beam's launcher asks for ever where no job of that name runs.
        raise OptionError(
            "--update: cancel the running job and submit this one anew; nothing is lost by it (docs/running.md)"
        )
    for name in _FILES:
        value = getattr(given, name, None)
        if value and not urllib.parse.urlsplit(value).netloc and not pathlib.Path(value).exists():
            raise OptionError(f"--{name}={value}: there is no such file")
    on_dataflow = options.runner == "DataflowRunner"
    brings = _ON_DATAFLOW if on_dataflow else _ELSEWHERE
    if not _is_this_machine(options, given) and not any(getattr(given, name, None) for name in brings):
        how = _DATAFLOW_TAKES if on_dataflow else _OTHERS_TAKE
        raise OptionError(f"--runner={options.runner} needs workers with dealmail: {how}")


def runner_options(options: JobOptions, rest: Sequence[str]) -> PipelineOptions:
    """Beam's own options for an endless run: streaming, and nothing of the main session or the command line's machine."""
    named = {option.removeprefix("--").partition("=")[0] for option in rest}
    added = [option for name, option in FLINK_NEEDS.items() if options.runner in ON_FLINK and name not in named]
    made = PipelineOptions([f"--runner={options.runner}", *rest, *added])
    made.view_as(StandardOptions).streaming = True
    made.view_as(SetupOptions).save_main_session = False
    return made


def _is_this_machine(options: JobOptions, given: argparse.Namespace) -> bool:
    """Whether what has started the job does the work, too."""
    if options.runner not in ON_FLINK:
        return options.runner == "PrismRunner"
    is_local = options.runner == "FlinkRunner" and given.flink_master.startswith("[")  # [local], [auto]
    return given.environment_type == "LOOPBACK" or (is_local and not given.environment_type)


def _subclasses(kind: Any) -> list[Any]:
    return [found for one in kind.__subclasses__() for found in (one, *_subclasses(one))]
