from __future__ import annotations

import os
import pathlib

import pytest

from dealmail.sandbox.mail_sources import MailSourceError, parse_date, parse_mail_option, read_mail
from dealmail.sandbox.mailbox import Mailbox, NewMail

OWNER = "me@corp.example"
EML = b"From: Ann <ann@acme.example>\r\nDate: Tue, 02 Jan 2024 03:04:05 +0100\r\nSubject: x\r\n\r\nbody\r\n"
SENT = b"From: Me <ME@corp.example>\nDate: Tue, 02 Jan 2024 03:04:05 +0100\n\nbody\n"


def read(path: pathlib.Path) -> list[NewMail]:
    return list(read_mail(path, OWNER))


def loaded(mails: list[NewMail]) -> Mailbox:
    mailbox = Mailbox(OWNER, lambda: 1)
    mailbox.load(mails)
    return mailbox


def test_a_takeout_mbox(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "All mail.mbox"
    path.write_bytes(
        b"From 1787000000000000001@xxx Tue Jan 02 03:04:05 +0000 2024\r\n"
        b"X-GM-THRID: 1787000000000000001\r\n"
        b"X-Gmail-Labels: =?UTF-8?Q?Inbox,Unread,Category_updates,K=C3=B6ln?=\r\nSubject: one\r\n\r\n"
        b">From here on\r\n>>From there\r\nFrom the sea, not a mark\r\nFrom 12:30 on we met\r\n\r\n"
        b"From 1787000000000000002@xxx Wed Jan 03 03:04:05 +0000 2024\r\n"
        b"X-GM-THRID: 1787000000000000001\r\nX-Gmail-Labels: Sent,Opened,Archived\r\nSubject: two\r\n\r\nbye\r\n"
    )
    first, second = read(path)
    assert first.labels == {"INBOX", "UNREAD", "CATEGORY_UPDATES", "Köln"}
    assert second.labels == {"SENT"}
    assert first.internal_date == 1_704_164_645_000
    assert int(first.gmail_id, 16) == 1787000000000000001
    assert first.thread_id == second.thread_id == first.gmail_id
    assert b"\nFrom here on\r\n>From there\r\nFrom the sea, not a mark\r\nFrom 12:30 on we met\r\n" in first.raw.read()
    mailbox = loaded([first, second])
    assert [one.id for one in mailbox.newest_first()] == [second.gmail_id, first.gmail_id]
    assert mailbox.user_labels == {"Label_1": "Köln"}


def test_a_plain_mbox_takes_its_dates_from_the_from_line(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "mbox"
    path.write_bytes(
        b"From ann@acme.example Tue Jan  2 03:04:05 2024\n" + EML + b"\nFrom x Tue Jan  2 03:04:06 2024\n\n\n"
    )
    one, two = read(path)
    assert (one.internal_date, two.internal_date) == (1_704_164_645_000, 1_704_164_646_000)
    assert one.raw.read().startswith(b"From: Ann")


def test_a_maildir(tmp_path: pathlib.Path) -> None:
    for folder, name, raw in (
        ("cur", "1.a:2,S", EML),
        ("new", "2.a", EML),
        (".Sent Items/cur", "3.a:2,S", SENT),
        (".Drafts/cur", "4.a:2,DS", EML),
        (".Junk/cur", "5.a:2,FS", EML),
        ("cur", "6.a:2,ST", EML),
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).write_bytes(raw)
    labels = sorted(sorted(mail.labels) for mail in read(tmp_path))
    assert labels == [["DRAFT"], ["INBOX"], ["INBOX", "UNREAD"], ["SENT"], ["SPAM", "STARRED"], ["TRASH"]]


def test_a_folder_of_eml_files_and_a_single_one(tmp_path: pathlib.Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.eml").write_bytes(EML)
    (tmp_path / "b.EML").write_bytes(SENT)
    (tmp_path / "notes.txt").write_bytes(b"no mail")
    found = read(tmp_path)
    assert sorted(sorted(mail.labels) for mail in found) == [["INBOX"], ["SENT"]]
    assert {mail.internal_date for mail in found} == {1_704_161_045_000}
    assert len(read(tmp_path / "b.EML")) == 1


def test_a_folder_without_eml_is_taken_file_by_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "_sent_mail").mkdir()
    (tmp_path / "_sent_mail" / "1.").write_bytes(EML)
    assert read(tmp_path)[0].labels == {"SENT"}


def test_the_date_comes_from_the_newest_received_then_date_then_the_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.eml"
    path.write_bytes(
        b"Received: by x; Fri, 5 Jan 2024 00:00:00 GMT\nReceived: by y; Thu, 4 Jan 2024 00:00:00 GMT\n" + EML
    )
    assert read(path)[0].internal_date == 1_704_412_800_000
    path.write_bytes(b"Date: nonsense\n\nx")
    os.utime(path, (1_600_000_000, 1_600_000_000))
    assert read(path)[0].internal_date == 1_600_000_000_000


@pytest.mark.parametrize(
    "text", ["", "x", "Mon, 99 Foo 2024 99:99:99", "Thu, 1 Jan 1970 00:00:00 +0000", "1 Jan 99999 00:00", "-" * 9999]
)
def test_dates_that_are_none(text: str) -> None:
    assert parse_date(text) is None


def test_ids_are_stable_unique_and_grow_with_time(tmp_path: pathlib.Path) -> None:
    for n in range(20):
        (tmp_path / f"{n}.eml").write_bytes(EML.replace(b"02 Jan", b"%02d Jan" % (n // 2 + 1)))
    once = [one.id for one in loaded(read(tmp_path)).newest_first()]
    again = [one.id for one in loaded(read(tmp_path)).newest_first()]
    assert once == again == sorted(once, reverse=True)
    assert len(set(once)) == 20
    assert all(len(one) == 16 and int(one, 16) for one in once)


def test_nothing_there_is_said(tmp_path: pathlib.Path) -> None:
    with pytest.raises(MailSourceError, match="no mail at"):
        read(tmp_path / "none")


def test_the_mail_option() -> None:
    assert parse_mail_option("a@x=p, b@x=") == [("a@x", pathlib.Path("p")), ("b@x", None)]
    with pytest.raises(MailSourceError):
        parse_mail_option("nonsense")


@pytest.mark.corpus
def test_every_torture_mail_loads(corpora: pathlib.Path) -> None:
    for folder, least in (("mime4j", 100), ("mimekit", 10), ("sisimai", 400), ("cpython-test-email", 50), ("talon", 5)):
        mails = read(corpora / folder)
        mailbox = loaded(mails)
        assert len(mailbox) == len(mails) >= least
