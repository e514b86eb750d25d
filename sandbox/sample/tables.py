"""category_table and mailbox_table: the counts that docs/sample.md shows."""

from __future__ import annotations

from collections import Counter

from .model import World


def category_table(world: World) -> str:
    """A Markdown table: how many messages of each category must get which decision, before and while the job runs."""
    counts = Counter(
        (m.category, m.expected_outcome or "never listed", m.expected_rule or "") for m in world.everything
    )
    lines = ["| category | decision | rule | messages |", "|---|---|---|---|"]
    lines += [f"| {c} | {o} | {f'`{r}`' if r else ''} | {n} |" for (c, o, r), n in sorted(counts.items())]
    lines.append(f"| **all** | | | {len(world.everything)} |")
    return "\n".join(lines) + "\n"


def mailbox_table(world: World) -> str:
    """A Markdown table: what each mailbox holds, and what must become of it."""
    lines = ["| mailbox | messages | imported | dropped | never listed | arrivals |", "|---|---|---|---|---|---|"]
    for mailbox in world.mailboxes:
        own = [m for m in world.messages if m.mailbox == mailbox]
        fates = Counter(m.expected_outcome for m in own)
        late = sum(m.mailbox == mailbox for m in world.arrivals)
        lines.append(f"| {mailbox} | {len(own)} | {fates['imported']} | {fates['dropped']} | {fates[None]} | {late} |")
    return "\n".join(lines) + "\n"
