"""`python -m dealmail.pipeline.draw FILE`: the endless graph as a picture, without opening or running anything.

FILE ends in .dot (Graphviz's text, made here), or in .svg, .png or .pdf, which Graphviz's `dot` makes of it.
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.render import PipelineRenderer, RenderOptions

from ..io.database import DatabaseSpec
from .engines import lay_out_endless
from .options import JobOptions

_KINDS = (".dot", ".svg", ".png", ".pdf")
_STEPS_ONLY = "[^/]+"
"""Steps are not taken apart: what is inside them is in their files."""


def as_dot() -> str:
    """The graph as Dataflow is given it, step by step, in Graphviz's language."""
    options = JobOptions(
        runner="DataflowRunner", database=DatabaseSpec("mysql+pymysql://u@host/name"), search="https://host:9200",
        subscription="projects/project/subscriptions/gmail", token_key="env:DEALMAIL_KEY",  # noqa: S106 (a name)
    )  # fmt: skip
    root = beam.Pipeline(options=PipelineOptions(["--streaming"]))
    shutil.rmtree(root.local_tempdir)  # made for every pipeline, and removed only by its run()
    lay_out_endless(root, options)
    shown = PipelineOptions([f"--render_leaf_composite_nodes={_STEPS_ONLY}"]).view_as(RenderOptions)
    return PipelineRenderer(root.to_runner_api(), shown).to_dot()


def main(argv: Sequence[str]) -> int:
    """Write the file that `argv` names; the exit code."""
    if len(argv) != 1 or pathlib.Path(argv[0]).suffix not in _KINDS:
        sys.stderr.write(f"usage: python -m dealmail.pipeline.draw FILE, which ends in {', '.join(_KINDS)}\n")
        return 2
    file, text = pathlib.Path(argv[0]), as_dot()
    if file.suffix == ".dot":
        file.write_text(text)
        return 0
    try:
        subprocess.run(["dot", f"-T{file.suffix[1:]}", "-o", str(file)], input=text, text=True, check=True)
    except FileNotFoundError:
        sys.stderr.write(f"{file.suffix} needs Graphviz's dot: install graphviz, or write a .dot file\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
