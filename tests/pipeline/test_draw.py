"""The picture of the graph shows the steps of build.py, as text without Graphviz."""

import itertools
import re
import shutil

import pytest

from dealmail.pipeline import draw


def test_the_picture_shows_every_step_and_how_mail_flows(tmp_path):
    assert draw.main([str(tmp_path / "graph.dot")]) == 0
    text = (tmp_path / "graph.dot").read_text()
    names = dict(re.findall(r'^"([^"]+)" \[label="([^"]+)"', text, re.MULTILINE))
    edges = {(names[a], names[b]) for a, b in re.findall(r'^"([^"]+)" -> "([^"]+)"', text, re.MULTILINE)}
    line = [
        "ReadNotifications", "FindDueMailboxes", "ClaimMessages", "FetchMessages", "NormalizeMessages", "SelectCustomerMail",
        "DeduplicateByMessageId", "CollectDecisions", "WriteToMariaDb", "WriteToElasticsearch",
    ]  # fmt: skip
    assert set(itertools.pairwise(line)) <= edges
    assert ("Tick", "KeepHouse") in edges
    assert {("FetchMessages", "CollectDecisions"), ("NormalizeMessages", "CollectDecisions")} <= edges


@pytest.mark.parametrize("argv", [[], ["graph.txt"], ["a.svg", "b.svg"]])
def test_another_file_is_refused(argv, capsys):
    assert draw.main(argv) == 2
    assert ".svg" in capsys.readouterr().err


def test_a_machine_without_graphviz_is_told_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("dot") is None
    assert draw.main([str(tmp_path / "graph.svg")]) == 1
    assert "install graphviz" in capsys.readouterr().err
