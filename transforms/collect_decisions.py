"""CollectDecisions: every step's outcomes in, one stream for settling out; counted by outcome and rule on the way.

This is the job's only failure path: a dropped message, a gone one and a failed one are settled like an imported one, so that
nothing that was looked at ends without a decision.
"""

from __future__ import annotations

from collections.abc import Iterable

import apache_beam as beam

from . import step_metrics
from .records import CustomerMail, Decision, Failure, Record, SeenCopy


def outcome_name(outcome: Record) -> str:
    """The name under which an outcome is counted: its outcome and rule, or the phase and error class of a failure."""
    match outcome:
        case CustomerMail(rule=rule) | SeenCopy(rule=rule):
            return f"imported.{rule}"
        case Decision(outcome=kind, rule=rule):
            return f"{kind}.{rule}"
        case Failure(phase=phase, error_class=error_class):
            return f"failed.{phase}.{error_class}"
        case _:
            msg = f"{type(outcome).__name__} is no outcome"
            raise TypeError(msg)


class _CountOutcomes(beam.DoFn):
    def process(self, outcome: Record) -> Iterable[Record]:
        step_metrics.count("CollectDecisions", outcome_name(outcome))
        yield outcome


class CollectDecisions(beam.PTransform):
    """Flatten what the steps decided into one PCollection of CustomerMail, SeenCopy, Decision and Failure."""

    def expand(self, outcomes: tuple[beam.PCollection, ...]) -> beam.PCollection:
        """Several PCollections in, one out."""
        return (
            outcomes
            | "Flatten" >> beam.Flatten()
            | "CountOutcomes" >> beam.ParDo(_CountOutcomes()).with_output_types(Record)
        )
