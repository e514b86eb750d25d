"""The sample on MariaDB and Elasticsearch leaves row for row what it leaves on SQLite and FTS5, whatever the sizes of batches."""

import datetime as dt

import pytest
from job_rig import FAST, USERS_WITHOUT_LIMIT, JobRig

from dealmail.io.search import SearchSpec
from dealmail.sandbox.process import SandboxProcess
from dealmail.sandbox.sample.load import load
from dealmail.sandbox.sample.world import build_world

pytestmark = [pytest.mark.mariadb, pytest.mark.elasticsearch, pytest.mark.slow, pytest.mark.timeout(600)]
KEY = "one-key-for-both-runs-so-digests-are-alike"


def test_both_pairs_of_stores_end_with_the_same_rows(
    tmp_path, empty_mariadb_spec, elasticsearch_url, elasticsearch_index_name
):
    world = build_world(dt.datetime.now(dt.UTC))
    search = SearchSpec(elasticsearch_url, index=elasticsearch_index_name, replicas=0)
    runs = {
        "embedded": ((), ("--claim_batch=7", "--settle_batch=5")),
        "servers": ((empty_mariadb_spec, search), ("--claim_batch=50",)),
    }
    rows = {}
    with SandboxProcess(arguments=USERS_WITHOUT_LIMIT) as sandbox:
        load(world, sandbox.client)
        for name, (stores, sizes) in runs.items():
            folder = tmp_path / name
            folder.mkdir()
            rig = JobRig(folder, sandbox, *stores, key=KEY)
            rig.opt_in(world.team_id, list(world.crm.values()), world.mailboxes)
            rig.once(*FAST, *sizes)
            assert rig.is_settled()
            rows[name] = rig.rows()
            rig.close()
    for table, found in rows["servers"].items():
        assert found == rows["embedded"][table], table
        assert found, f"{table} is empty, so nothing was compared"
