"""Secrets: in no log, no pickled graph and no error; tokens are sealed at rest."""

import pickle

import apache_beam as beam
import pytest
from apache_beam.transforms import environments
from dataflow_standin import every_text

from dealmail.io import secret_refs
from dealmail.io.database import Database, DatabaseSpec
from dealmail.pipeline.engines import lay_out_endless
from dealmail.pipeline.options import parse
from dealmail.transforms.errors import StoreUnavailableError

PASSWORD = "pa55-w0rd-that-must-not-be-seen"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_tokens_and_keys_are_in_no_file_of_a_run(sample_run):
    """Database and log hold no token in the clear; the key file is the one place of the key."""
    rig = sample_run.rig
    key = secret_refs.resolve(f"file:{rig.folder}/dealmail.key")
    tokens = [rig.sandbox.client.grant(address) for address in sample_run.world.mailboxes]
    stored = [rig.accounts().open(row[0]) for row in {(m[0],) for m in rig.rows()["message"]}]
    used = {gmail._credentials.refresh_token for gmail in stored} | set(tokens)
    for file in rig.folder.rglob("*"):
        if file.is_file() and file.name != "dealmail.key":
            data = file.read_bytes()
            assert key.encode() not in data, file.name
            assert not [file.name for token in used if token and token.encode() in data]


def test_no_secret_is_in_the_pickled_graph(monkeypatch, tmp_path):
    monkeypatch.setenv("SECRET_KEY_OF_TEST", PASSWORD)
    monkeypatch.setenv("SECRET_DB_OF_TEST", PASSWORD)
    options, _ = parse(
        [
            "--runner=FlinkRunner", "--database=mysql+pymysql://u@db.corp.example/d", "--database_password=env:SECRET_DB_OF_TEST",
            "--search=https://es.corp.example:9200", "--token_key=env:SECRET_KEY_OF_TEST", "--search_password=env:SECRET_KEY_OF_TEST",
            "--subscription=projects/some-project/subscriptions/gmail",
        ]
    )  # fmt: skip
    root = beam.Pipeline()
    lay_out_endless(root, options)
    graph = root.to_runner_api(default_environment=environments.EmbeddedPythonEnvironment.default())
    opened = b"\n".join(every_text(graph))
    assert b"SECRET_DB_OF_TEST" in opened  # names travel, so the search looks inside the pickles
    assert PASSWORD.encode() not in opened
    assert PASSWORD.encode() not in pickle.dumps(options)


def test_a_database_that_cannot_be_reached_does_not_show_its_password(monkeypatch):
    monkeypatch.setenv("SECRET_DB_OF_TEST", PASSWORD)
    database = Database(DatabaseSpec("mysql+pymysql://someone@127.0.0.1:1/none", "env:SECRET_DB_OF_TEST"))
    with pytest.raises(StoreUnavailableError) as caught, database.reading():
        pass
    assert PASSWORD not in str(caught.value)
    assert PASSWORD not in repr(caught.value.__cause__)
