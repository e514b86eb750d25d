"""The key: named, from the environment, or a private file beside the database that everybody agrees on."""

import concurrent.futures
import stat

import pytest

from dealmail.io import secret_refs
from dealmail.io.database import DatabaseSpec
from dealmail.io.key_choice import key_ref


@pytest.fixture(autouse=True)
def _no_key(monkeypatch):
    monkeypatch.delenv("DEALMAIL_KEY", raising=False)


def test_a_named_key_wins_over_the_environment(monkeypatch):
    spec = DatabaseSpec("sqlite:///x.db")
    monkeypatch.setenv("DEALMAIL_KEY", "k" * 32)
    assert key_ref("file:/etc/key", spec) == "file:/etc/key"
    assert key_ref("", spec) == "env:DEALMAIL_KEY"


def test_the_file_beside_the_database_is_private_and_stays(tmp_path):
    spec = DatabaseSpec(f"sqlite:///{tmp_path}/dealmail.db")
    ref = key_ref("", spec)
    file = tmp_path / "dealmail.db.key"
    assert ref == f"file:{file}"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret_refs.resolve(key_ref("", spec)) == secret_refs.resolve(ref)
    assert [p.name for p in tmp_path.iterdir()] == ["dealmail.db.key"]


def test_many_who_make_it_at_once_agree(tmp_path):
    spec = DatabaseSpec(f"sqlite:///{tmp_path}/dealmail.db")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: secret_refs.resolve(key_ref("", spec)), range(32)))
    assert len(found) == 1


def test_mariadb_without_a_named_key_is_refused():
    with pytest.raises(secret_refs.SecretNotFoundError, match="DEALMAIL_KEY"):
        key_ref("", DatabaseSpec("mysql+pymysql://u@h/d"))
