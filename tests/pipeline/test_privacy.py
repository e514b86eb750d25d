"""Privacy: of a mail that is not imported nothing is left anywhere but its decision."""

import base64
import pathlib
import quopri

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def forms(marker: str) -> set[bytes]:
    """The bytes under which a marker would be found, in lower case: plain, UTF-16, quoted-printable and its base64 forms."""
    plain = marker.lower().encode()
    packed = {base64.b64encode(b"x" * shift + marker.encode())[4:-4].lower() for shift in range(3)}
    return {plain, marker.lower().encode("utf-16-le"), quopri.encodestring(plain), *packed}


def everything_in(*folders: pathlib.Path) -> dict[pathlib.Path, bytes]:
    """All files below, in lower case."""
    return {file: file.read_bytes().lower() for folder in folders for file in folder.rglob("*") if file.is_file()}


def found_in(files: dict[pathlib.Path, bytes], markers: list[str]) -> dict[str, list[str]]:
    return {
        marker: where for marker in markers
        if (where := [file.name for file, data in files.items() if any(form in data for form in forms(marker))])
    }  # fmt: skip


def test_no_marker_of_a_mail_that_was_not_imported_is_found(sample_run):
    """Database, write-ahead log, full-text index, the job's log at DEBUG, its temporary files: all lie in the run's folder."""
    files = everything_in(sample_run.rig.folder)
    assert {"dealmail.db", "job.log"} <= {file.name for file in files}
    markers = [m.marker for m in sample_run.world.final().values() if m.marker]
    assert len(markers) > 200
    assert found_in(files, markers) == {}


def test_the_search_for_markers_finds_what_is_there(sample_run):
    """The text of an imported mail is in the same files: the search above can fail."""
    files = everything_in(sample_run.rig.folder)
    subjects = {
        subject for *_, subject in ((row[7],) for row in sample_run.rig.rows()["engagement"]) if subject.isascii()
    }
    assert any(subject.lower().encode() in data for subject in subjects for data in files.values())


def test_addresses_and_subjects_of_imported_mail_are_not_in_the_log_either(sample_run):
    log = sample_run.rig.log.read_bytes().lower()
    rows = sample_run.rig.rows()
    assert [a for a in {row[4] for row in rows["participant"]} if a.encode() in log] == []
    assert [s for s in {row[7] for row in rows["engagement"]} if len(s) > 12 and s.lower().encode() in log] == []


def test_the_job_leaves_no_temporary_file_with_mail(sample_run):
    texts = {row[8].strip()[:40].lower().encode() for row in sample_run.rig.rows()["engagement"] if len(row[8]) > 40}
    files = everything_in(sample_run.tmp)
    assert [file.name for file, data in files.items() if any(text in data for text in texts)] == []
