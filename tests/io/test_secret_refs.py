"""Secrets are named, read where they are used, and never shown."""

import pytest

from dealmail.io.secret_refs import SecretNotFoundError, is_ref, resolve


def test_a_variable_and_a_file_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("THE_SECRET", "hunter2")
    (tmp_path / "secret").write_text("  hunter3\n")
    assert resolve("env:THE_SECRET") == "hunter2"
    assert resolve(f"file:{tmp_path}/secret") == "hunter3"


def test_what_cannot_be_read_is_said_in_one_line_without_a_value(tmp_path, monkeypatch):
    monkeypatch.delenv("THE_SECRET", raising=False)
    (tmp_path / "binary").write_bytes(b"hunter2\xff\xfe")
    for ref, says in (
        ("env:THE_SECRET", "THE_SECRET is not set"),
        (f"file:{tmp_path}/none", "No such file"),
        (f"file:{tmp_path}", "Is a directory"),
        (f"file:{tmp_path}/binary", "no text in UTF-8"),
        ("hunter2", "is given where one should be named"),
    ):
        with pytest.raises(SecretNotFoundError, match=says) as found:
            resolve(ref)
        assert "hunter2" not in str(found.value)
        assert "\n" not in str(found.value)


def test_only_the_form_of_a_name_is_one():
    assert all(is_ref(text) for text in ("env:A", "file:/a", "gcp:projects/p"))
    assert not any(is_ref(text) for text in ("env:", "hunter2", ""))
