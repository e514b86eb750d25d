"""The demo's report: what happened, as one page that needs nothing else, and as JSON. Nothing of a dropped mail is in it."""

from __future__ import annotations

import dataclasses
import html
import json
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ..transforms.decisions import RULES

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --accent: #2a6fb0; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .25rem .7rem .25rem 0; vertical-align: top; }
th { font-weight: 600; border-bottom: 1px solid var(--line); } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.bar { background: var(--soft); } .bar i { display: block; height: .8rem; background: var(--accent); }
article { border: 1px solid var(--line); border-radius: 6px; padding: .6rem 1rem; margin: .7rem 0; }
article.outbound { margin-left: 3rem; } article header { display: flex; justify-content: space-between; gap: 1rem; }
pre { white-space: pre-wrap; font: inherit; margin: .4rem 0 0; max-height: 14rem; overflow: auto; } small { opacity: .7; }
"""


@dataclasses.dataclass(frozen=True)
class Report:
    """What one run of the demo showed.

    `funnel` is (step, messages) from looked at to stored engagements; `rules` is (outcome, rule, messages); `mailboxes` and
    `timeline` are rows of the console's queries; `push_seconds` are the times from delivery to the stored decision;
    `checked` is how many decisions were compared with what was expected, and how many agreed (None: nothing was expected);
    `audit` is mailbox to completeness in percent.
    """

    title: str
    stores: str
    seconds: float
    funnel: Sequence[tuple[str, int]]
    rules: Sequence[tuple[str, str, int]]
    mailboxes: Sequence[Mapping[str, Any]]
    deal: str
    timeline: Sequence[Mapping[str, Any]]
    push_seconds: Sequence[float]
    checked: tuple[int, int] | None
    audit: Mapping[str, float]

    def write(self, folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
        """Write report.html and report.json into `folder`; their paths."""
        page, data = folder / "report.html", folder / "report.json"
        page.write_text(self.as_html(), encoding="utf-8")
        data.write_text(json.dumps(self.as_json(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        return page, data

    def as_json(self) -> dict[str, Any]:
        """Counts only, and the deal's stored mail by id."""
        return {
            "title": self.title,
            "stores": self.stores,
            "seconds": round(self.seconds, 1),
            "funnel": dict(self.funnel),
            "rules": [{"outcome": outcome, "rule": rule, "messages": number} for outcome, rule, number in self.rules],
            "mailboxes": [dict(row) for row in self.mailboxes],
            "deal": {"name": self.deal, "engagements": [row["id"] for row in self.timeline]},
            "push_seconds": {"all": [round(s, 3) for s in self.push_seconds], "median": median(self.push_seconds)},
            "expected": None if self.checked is None else {"agree": self.checked[0], "of": self.checked[1]},
            "audit_percent": dict(self.audit),
        }

    def as_html(self) -> str:
        """The page: every value from mail or CRM is escaped, and nothing is loaded from anywhere."""
        body = [f"<h1>{_e(self.title)}</h1>", f"<p>{_e(self.stores)}; {self.seconds:.0f} seconds in all.</p>"]
        if self.checked is not None:
            body.append(f"<p>{self.checked[0]} of {self.checked[1]} decisions are as expected.</p>")
        most = max((number for _, number in self.funnel), default=1) or 1
        body.append("<h2>Funnel</h2><table>")
        for step, number in self.funnel:
            body.append(
                f"<tr><td>{_e(step)}</td><td class=n>{number}</td>"
                f"<td class=bar style='width:60%'><i style='width:{100 * number / most:.1f}%'></i></td></tr>"
            )
        body.append(
            "</table><h2>Why</h2><table><tr><th>outcome</th><th>rule</th><th>because</th><th class=n>messages</th></tr>"
        )
        for outcome, rule, number in self.rules:
            why = RULES.get(rule, "")
            body.append(
                f"<tr><td>{_e(outcome)}</td><td>{_e(rule)}</td><td>{_e(why)}</td><td class=n>{number}</td></tr>"
            )
        counts = ("imported", "dropped", "gone", "parked")
        heads = "".join(f"<th class=n>{name}</th>" for name in counts)
        body.append(
            f"</table><h2>Mailboxes</h2><table><tr><th>mailbox</th><th>state</th>{heads}<th class=n>complete</th></tr>"
        )
        for row in self.mailboxes:
            cells = "".join(f"<td class=n>{row[name]}</td>" for name in counts)
            complete = f"{self.audit[row['mailbox']]:.1f} %" if row["mailbox"] in self.audit else ""
            body.append(
                f"<tr><td>{_e(row['mailbox'])}</td><td>{_e(row['state'])}</td>{cells}<td class=n>{complete}</td></tr>"
            )
        body.append("</table>")
        if self.push_seconds:
            body.append(
                f"<p>{len(self.push_seconds)} messages arrived while the job ran; from delivery to stored decision: "
                f"{median(self.push_seconds)} s in the median, {max(self.push_seconds):.2f} s at the most.</p>"
            )
        body.append(f"<h2>{_e(self.deal)}</h2>")
        for row in self.timeline:
            who = row["sender"]["name"] or row["sender"]["address"]
            to = ", ".join(person["name"] or person["address"] for person in row["to"])
            body.append(
                f"<article class='{_e(row['direction'])}'><header><b>{_e(row['subject'])}</b>"
                f"<small>{_e(row['timestamp'][:16].replace('T', ' '))} UTC</small></header>"
                f"<small>{_e(who)} to {_e(to)}; held by {_e(', '.join(row['mailboxes']))}</small>"
                f"<pre>{_e(row['text'])}</pre></article>"
            )
        title = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{_e(self.title)}</title>"
        policy = "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        return f"<!doctype html><html lang=en>{title}{policy}<style>{STYLE}</style>{''.join(body)}</html>\n"


def median(values: Sequence[float]) -> float | None:
    """The median to a hundredth, None of nothing."""
    return round(statistics.median(values), 2) if values else None


def _e(text: str) -> str:
    return html.escape(text, quote=True)
