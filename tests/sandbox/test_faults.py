from __future__ import annotations

import pytest

from dealmail.sandbox.faults import Faults, Rule, parse_rule, parse_spec


def test_the_command_line_form() -> None:
    first, second = parse_spec(
        "429=0.05,retry_after=2, methods=messages.get+history.list; drop=1,count=3,mailboxes=A@x"
    )
    assert first.rates == {"429": 0.05}
    assert first.retry_after == 2
    assert first.methods == {"messages.get", "history.list"}
    assert second.count == 3
    assert second.mailboxes == {"a@x"}
    assert parse_spec("") == []


@pytest.mark.parametrize("text", ["429", "nonsense=0.5", "429=2", "429=-1", "count=x"])
def test_a_bad_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_spec(text)


def test_the_same_seed_strikes_the_same_calls() -> None:
    def strikes(seed: int) -> list[bool]:
        faults = Faults(seed, [Rule({"500": 0.3})])
        return [faults.hit("500") is not None for _ in range(200)]

    assert strikes(1) == strikes(1)
    assert strikes(1) != strikes(2)
    assert 30 < sum(strikes(1)) < 90


def test_rules_are_narrowed_and_counted() -> None:
    faults = Faults(0, [parse_rule({"500": 1, "methods": ["messages.get"], "mailboxes": ["A@x"], "count": 2})])
    assert faults.hit("500", "messages.list", "a@x") is None
    assert faults.hit("500", "messages.get", "b@x") is None
    assert [faults.hit("500", "messages.get", "a@X") is not None for _ in range(3)] == [True, True, False]
    assert faults.counts == {"500": 2}
    faults.set_rules([])
    assert faults.hit("500", "messages.get", "a@x") is None
