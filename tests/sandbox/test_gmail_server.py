from __future__ import annotations

import base64
import json
import re
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from googleapiclient.discovery import build_from_document
from googleapiclient.errors import HttpError
from googleapiclient.http import BatchHttpRequest

from dealmail.sandbox.client import SandboxClient, SandboxRequestError
from dealmail.sandbox.oauth import METADATA, READONLY
from dealmail.sandbox.service import Sandbox

ALICE = "Alice@corp.example"
BOB = "bob@corp.example"
Mail = Callable[..., bytes]
Users = Callable[..., Any]


def ids(answer: dict[str, Any]) -> list[str]:
    return [one["id"] for one in answer.get("messages", [])]


def kinds(answer: dict[str, Any]) -> list[str]:
    return [next(key for key in record if key not in {"id", "messages"}) for record in answer.get("history", [])]


def reason(error: pytest.ExceptionInfo[HttpError]) -> tuple[int, str]:
    return error.value.status_code, error.value.error_details[0]["reason"]


def test_profile_and_labels(gmail: Users, admin: SandboxClient, mail: Mail) -> None:
    admin.deliver(ALICE, mail(), ["INBOX", "Customers/Acme"])
    users = gmail()
    profile = users.getProfile(userId="me").execute()
    assert profile["emailAddress"] == ALICE
    assert (profile["messagesTotal"], profile["threadsTotal"]) == (1, 1)
    assert profile["historyId"].isdigit()
    labels = {one["name"]: one for one in users.labels().list(userId="me").execute()["labels"]}
    assert labels["INBOX"] == {"id": "INBOX", "name": "INBOX", "type": "system"}
    assert labels["Customers/Acme"] == {"id": "Label_1", "name": "Customers/Acme", "type": "user"}


def test_lists_newest_first_in_pages(gmail: Users, admin: SandboxClient, mail: Mail) -> None:
    made = [admin.deliver(ALICE, mail(str(n)), internal_date=1_700_000_000_000 + n) for n in range(7)]
    messages = gmail().messages()
    request = messages.list(userId="me", maxResults=3)
    pages = []
    while request is not None:
        answer = request.execute()
        pages.append(ids(answer))
        request = messages.list_next(request, answer)
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [one for page in pages for one in page] == made[::-1]


def test_a_page_token_belongs_to_one_query_and_may_expire(gmail: Users, admin: SandboxClient, mail: Mail) -> None:
    for n in range(3):
        admin.deliver(ALICE, mail(str(n)))
    messages = gmail().messages()
    token = messages.list(userId="me", maxResults=1, q="in:inbox").execute()["nextPageToken"]
    assert messages.list(userId="me", maxResults=1, q="in:inbox", pageToken=token).execute()["messages"]
    with pytest.raises(HttpError) as error:
        messages.list(userId="me", maxResults=1, q="in:sent", pageToken=token).execute()
    assert reason(error) == (400, "invalidArgument")
    admin.call("expire_pages")
    with pytest.raises(HttpError):
        messages.list(userId="me", maxResults=1, q="in:inbox", pageToken=token).execute()


def test_drafts_are_listed_by_default_and_spam_and_trash_are_not(
    gmail: Users, admin: SandboxClient, mail: Mail
) -> None:
    inbox = admin.deliver(ALICE, mail(), ["INBOX"])
    spam = admin.deliver(ALICE, mail(), ["SPAM"])
    trash = admin.deliver(ALICE, mail(), ["INBOX"])
    admin.trash(ALICE, trash)
    chat = admin.deliver(ALICE, mail(), ["CHAT"])
    _, draft = admin.save_draft(ALICE, mail())
    messages = gmail().messages()
    assert set(ids(messages.list(userId="me").execute())) == {inbox, chat, draft}
    assert set(ids(messages.list(userId="me", includeSpamTrash=True).execute())) == {inbox, chat, draft, spam, trash}
    assert ids(messages.list(userId="me", q="-in:drafts -in:chats").execute()) == [inbox]
    assert ids(messages.list(userId="me", q="in:spam").execute()) == [spam]
    assert ids(messages.list(userId="me", labelIds=["TRASH"]).execute()) == [trash]
    assert "INBOX" not in messages.get(userId="me", id=trash).execute()["labelIds"]


def test_label_ids_are_anded_and_q_is_read(gmail: Users, admin: SandboxClient, mail: Mail) -> None:
    one = admin.deliver(ALICE, mail("one"), ["INBOX", "IMPORTANT"], 1_700_000_000_000)
    admin.deliver(ALICE, mail("two"), ["INBOX"], 1_700_000_100_000)
    messages = gmail().messages()
    assert ids(messages.list(userId="me", labelIds=["INBOX", "IMPORTANT"]).execute()) == [one]
    assert ids(messages.list(userId="me", q="before:1700000100 from:acme.example subject:one").execute()) == [one]


def test_me_in_a_search_is_whose_mailbox_it_is(gmail: Users, admin: SandboxClient, mail: Mail) -> None:
    ours = mail("one").replace(b"From: ", b"X-From: ", 1).replace(b"To: ", b"X-To: ", 1)
    sent = admin.deliver(ALICE, b"From: Alice <" + ALICE.encode() + b">\r\nTo: pat@acme.example\r\n" + ours, ["SENT"])
    got = admin.deliver(ALICE, b"From: pat@acme.example\r\nTo: Alice <" + ALICE.encode() + b">\r\n" + ours)
    messages = gmail().messages()
    assert ids(messages.list(userId="me", q="from:me").execute()) == [sent]
    assert ids(messages.list(userId="me", q="to:me -from:me").execute()) == [got]


def test_the_four_formats(gmail: Users, admin: SandboxClient, mail: Mail) -> None:
    raw = mail("Grüße", "text", message_id="<1@acme.example>")
    gmail_id = admin.deliver(ALICE, raw, ["INBOX"], 1_700_000_000_123)
    messages = gmail().messages()
    full = messages.get(userId="me", id=gmail_id).execute()
    assert full["internalDate"] == "1700000000123"
    assert full["labelIds"] == ["INBOX"]
    assert full["payload"]["body"]["size"] == 6
    assert {"name": "Subject", "value": "Grüße"} in full["payload"]["headers"]
    assert "raw" not in full
    answer = messages.get(userId="me", id=gmail_id, format="raw").execute()
    assert base64.urlsafe_b64decode(answer["raw"]) == raw
    assert "payload" not in answer
    metadata = messages.get(userId="me", id=gmail_id, format="metadata", metadataHeaders=["subject", "To"]).execute()
    assert {one["name"] for one in metadata["payload"]["headers"]} == {"Subject", "To"}
    assert "body" not in metadata["payload"]
    assert "payload" not in messages.get(userId="me", id=gmail_id, format="minimal").execute()


def test_partial_responses(gmail: Users, admin: SandboxClient, mail: Mail) -> None:
    gmail_id = admin.deliver(ALICE, mail())
    messages = gmail().messages()
    part = messages.get(userId="me", id=gmail_id, fields="id,payload(mimeType,headers/name)").execute()
    assert set(part) == {"id", "payload"}
    assert set(part["payload"]) == {"mimeType", "headers"}
    assert set(part["payload"]["headers"][0]) == {"name"}
    for bad in ("id(", "payload/header", "id,snipet", "payload(parts(body(bytes)))"):
        with pytest.raises(HttpError) as error:
            messages.get(userId="me", id=gmail_id, fields=bad).execute()
        assert reason(error) == (400, "invalidArgument"), bad
    deep = "payload(parts(parts/body(data,size),filename)),*/headers"
    assert set(messages.get(userId="me", id=gmail_id, fields=deep).execute()) >= {"payload"}


def test_attachments_have_a_new_id_each_time_and_original_bytes(gmail: Users, admin: SandboxClient) -> None:
    raw = b'Content-Type: application/pdf; name="a.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERg==\r\n'
    gmail_id = admin.deliver(ALICE, raw)
    messages = gmail().messages()
    tokens = [messages.get(userId="me", id=gmail_id).execute()["payload"]["body"]["attachmentId"] for _ in range(2)]
    assert tokens[0] != tokens[1]
    for token in tokens:
        answer = messages.attachments().get(userId="me", messageId=gmail_id, id=token).execute()
        assert base64.urlsafe_b64decode(answer["data"]) == b"%PDF"
    other = admin.deliver(ALICE, raw)
    with pytest.raises(HttpError):
        messages.attachments().get(userId="me", messageId=other, id=tokens[0]).execute()


def test_a_missing_message_id_is_added_for_each_delivery(gmail: Users, admin: SandboxClient, mail: Mail) -> None:
    found = set()
    for address in (ALICE, BOB):
        gmail_id = admin.deliver(address, mail())
        headers = gmail(address).messages().get(userId="me", id=gmail_id).execute()["payload"]["headers"]
        found.add(next(one["value"] for one in headers if one["name"] == "Message-ID"))
    assert len(found) == 2
    assert all(one.endswith("SMTPIN_ADDED_MISSING@mx.google.com>") for one in found)


def test_threads_join_by_references_and_subject(gmail: Users, admin: SandboxClient, mail: Mail) -> None:
    first = admin.deliver(ALICE, mail("Offer", message_id="<1@x>"))
    admin.deliver(ALICE, mail("Re: Offer", message_id="<2@x>", in_reply_to="<1@x>"))
    admin.deliver(ALICE, mail("AW: RE: Offer", message_id="<3@x>", references="<0@x> <1@x>\r\n\t<2@x>"))
    admin.deliver(ALICE, mail("Something else", message_id="<4@x>", in_reply_to="<1@x>"))
    admin.deliver(ALICE, mail("Re: Offer", message_id="<5@x>"))
    threads = [one["threadId"] for one in gmail().messages().list(userId="me").execute()["messages"]]
    assert threads.count(first) == 3
    assert len(set(threads)) == 3
    assert len(gmail().threads().get(userId="me", id=first).execute()["messages"]) == 3


def test_what_is_not_there(gmail: Users) -> None:
    users = gmail()
    with pytest.raises(HttpError) as error:
        users.messages().get(userId="me", id="0123456789abcdef").execute()
    assert reason(error) == (404, "notFound")
    with pytest.raises(HttpError) as error:
        users.getProfile(userId=BOB).execute()
    assert reason(error) == (403, "forbidden")
    assert "Delegation denied" in error.value.reason


# -- history ----------------------------------------------------------------------------------------------------------


def test_history_tells_the_four_types_after_an_exclusive_start(gmail: Users, admin: SandboxClient, mail: Mail) -> None:
    users = gmail()
    start = users.getProfile(userId="me").execute()["historyId"]
    assert "history" not in users.history().list(userId="me", startHistoryId=start).execute()
    gmail_id = admin.deliver(ALICE, mail(), ["INBOX"])
    admin.modify(ALICE, gmail_id, add=["STARRED"], remove=["INBOX"])
    admin.delete(ALICE, gmail_id)
    answer = users.history().list(userId="me", startHistoryId=start).execute()
    assert kinds(answer) == ["messagesAdded", "labelsAdded", "labelsRemoved", "messagesDeleted"]
    numbers = [int(record["id"]) for record in answer["history"]]
    assert numbers == sorted(numbers)
    assert int(answer["historyId"]) >= numbers[-1] > int(start)
    assert answer["history"][1]["labelsAdded"] == [
        {"message": {"id": gmail_id, "threadId": gmail_id, "labelIds": ["INBOX", "STARRED"]}, "labelIds": ["STARRED"]}
    ]
    later = users.history().list(userId="me", startHistoryId=numbers[1]).execute()
    assert kinds(later) == ["labelsRemoved", "messagesDeleted"]
    only = users.history().list(userId="me", startHistoryId=start, historyTypes=["labelAdded", "messageDeleted"])
    assert kinds(only.execute()) == ["labelsAdded", "messagesDeleted"]


def test_history_pages_may_be_empty_but_go_on(gmail: Users, admin: SandboxClient, mail: Mail) -> None:
    users = gmail()
    start = users.getProfile(userId="me").execute()["historyId"]
    gmail_id = admin.deliver(ALICE, mail())
    for _ in range(4):
        admin.modify(ALICE, gmail_id, add=["STARRED"])
        admin.modify(ALICE, gmail_id, remove=["STARRED"])
    last = admin.deliver(ALICE, mail())
    history = users.history()
    request = history.list(userId="me", startHistoryId=start, historyTypes="messageAdded", maxResults=2)
    seen, empty = [], 0
    while request is not None:
        answer = request.execute()
        seen += [record["messagesAdded"][0]["message"]["id"] for record in answer.get("history", [])]
        empty += "history" not in answer
        request = history.list_next(request, answer)
    assert seen == [gmail_id, last]
    assert empty == 3
    by_label = history.list(userId="me", startHistoryId=start, labelId="STARRED").execute()
    assert set(kinds(by_label)) == {"labelsAdded"}


def test_a_reader_who_follows_the_answers_id_misses_no_change_that_comes_meanwhile(
    sandbox: Sandbox, gmail: Users, admin: SandboxClient, mail: Mail
) -> None:
    """The mailbox changes as fast as it can while its history is read; each change is in one answer or in a later one."""
    message_id = admin.deliver(ALICE, mail())
    admin.set_limits(user=0, project=0, concurrent=0)
    users, box = gmail(), sandbox.mailboxes[ALICE.lower()]
    start = int(users.getProfile(userId="me").execute()["historyId"])
    stop, before = threading.Event(), sys.getswitchinterval()

    def change() -> None:
        while not stop.wait(0.0003):  # a reader must be able to keep up
            box.modify(message_id, ["STARRED"], [])
            box.modify(message_id, [], ["STARRED"])

    changing = threading.Thread(target=change)
    sys.setswitchinterval(1e-6)
    try:
        changing.start()
        cursor, seen = start, set[int]()
        for _ in range(200):
            cursor = _follow(users, cursor, seen)
    finally:
        stop.set()
        changing.join()
        sys.setswitchinterval(before)
    while (further := _follow(users, cursor, seen)) != cursor:
        cursor = further
    assert seen == {change.id for change in box.changes_after(start, 10**9).changes}


def _follow(users: Any, cursor: int, seen: set[int]) -> int:
    """Read the history after `cursor` to its end; the id to go on from: the least that an answer gave."""
    newest, request = None, users.history().list(userId="me", startHistoryId=str(cursor), maxResults=100)
    while request is not None:
        answer = request.execute()
        seen.update(int(record["id"]) for record in answer.get("history", ()))
        newest = int(answer["historyId"]) if newest is None else min(newest, int(answer["historyId"]))
        request = users.history().list_next(request, answer)
    return newest


def test_an_expired_or_bad_cursor(gmail: Users, admin: SandboxClient, mail: Mail) -> None:
    users = gmail()
    start = users.getProfile(userId="me").execute()["historyId"]
    admin.expire_history(ALICE)
    with pytest.raises(HttpError) as error:
        users.history().list(userId="me", startHistoryId=start).execute()
    assert reason(error) == (404, "notFound")
    assert error.value.reason == "Requested entity was not found."
    fresh = users.getProfile(userId="me").execute()["historyId"]
    gmail_id = admin.deliver(ALICE, mail())
    answer = users.history().list(userId="me", startHistoryId=fresh).execute()
    assert answer["history"][0]["messagesAdded"][0]["message"]["id"] == gmail_id
    for bad in (0, "x"):
        with pytest.raises(HttpError) as error:
            users.history().list(userId="me", startHistoryId=bad).execute()
        assert reason(error) == (400, "invalidArgument")
        assert error.value.reason == "Missing/invalid parameter: startHistoryId"


def test_a_draft_changes_its_message_id_and_is_sent_under_another(
    gmail: Users, admin: SandboxClient, mail: Mail
) -> None:
    users = gmail()
    start = users.getProfile(userId="me").execute()["historyId"]
    draft, first = admin.save_draft(ALICE, mail("v1"))
    same, second = admin.save_draft(ALICE, mail("v2"), draft)
    assert same == draft
    assert users.drafts().list(userId="me").execute()["drafts"][0] == {
        "id": draft,
        "message": {"id": second, "threadId": second},
    }
    sent = admin.send_draft(ALICE, draft)
    assert len({first, second, sent}) == 3
    answer = users.history().list(userId="me", startHistoryId=start).execute()
    assert kinds(answer) == ["messagesAdded", "messagesDeleted", "messagesAdded", "messagesDeleted", "messagesAdded"]
    assert users.messages().get(userId="me", id=sent).execute()["labelIds"] == ["SENT"]
    assert "drafts" not in users.drafts().list(userId="me").execute()
    with pytest.raises(SandboxRequestError):
        admin.send_draft(ALICE, draft)


# -- watch ------------------------------------------------------------------------------------------------------------


def pulled(sandbox: Sandbox) -> list[dict[str, Any]]:
    received = sandbox.broker.take(sandbox.subscription, 100, 0)
    sandbox.broker.ack(sandbox.subscription, [one.ack_id for one in received])
    return [json.loads(one.message.data) for one in received]


def test_watch_publishes_at_once_and_then_at_most_once_a_second(
    sandbox: Sandbox, gmail: Users, admin: SandboxClient, mail: Mail
) -> None:
    users = gmail()
    answer = users.watch(userId="me", body={"topicName": sandbox.topic}).execute()
    assert int(answer["expiration"]) == pytest.approx(sandbox.clock.now_ms() + 7 * 24 * 3600 * 1000, abs=5000)
    assert pulled(sandbox) == [{"emailAddress": ALICE, "historyId": int(answer["historyId"])}]
    sandbox.clock.advance(2)
    for _ in range(3):
        admin.deliver(ALICE, mail())
    assert len(pulled(sandbox)) == 1
    sandbox.clock.advance(2)
    admin.deliver(BOB, mail())
    admin.deliver(ALICE, mail())
    assert [one["emailAddress"] for one in pulled(sandbox)] == [ALICE]
    assert admin.counters()["push"]["dropped"] == 2
    users.stop(userId="me").execute()
    sandbox.clock.advance(2)
    admin.deliver(ALICE, mail())
    assert pulled(sandbox) == []


def test_a_watch_ends_after_seven_days(sandbox: Sandbox, gmail: Users, admin: SandboxClient, mail: Mail) -> None:
    gmail().watch(userId="me", body={"topicName": sandbox.topic}).execute()
    pulled(sandbox)
    sandbox.clock.advance(8 * 24 * 3600)
    admin.deliver(ALICE, mail())
    assert pulled(sandbox) == []


def test_watch_refuses_bad_topics_and_a_second_client(sandbox: Sandbox, gmail: Users, admin: SandboxClient) -> None:
    users = gmail()
    with pytest.raises(HttpError) as error:
        users.watch(userId="me", body={"topicName": "projects/other/topics/gmail"}).execute()
    assert error.value.reason == "Invalid topicName does not match projects/dealmail-sandbox/topics/*"
    with pytest.raises(HttpError) as error:
        users.watch(userId="me", body={"topicName": "projects/dealmail-sandbox/topics/none"}).execute()
    assert reason(error) == (404, "notFound")
    users.watch(userId="me", body={"topicName": sandbox.topic}).execute()
    users.watch(userId="me", body={"topicName": sandbox.topic}).execute()
    second = "projects/dealmail-sandbox/topics/second"
    admin.push_route(second, "projects/dealmail-sandbox/subscriptions/second")
    with pytest.raises(HttpError) as error:
        users.watch(userId="me", body={"topicName": second}).execute()
    assert error.value.status_code == 400
    assert error.value.reason.startswith("Only one user push notification client allowed per developer (call /stop")
    users.stop(userId="me").execute()
    users.watch(userId="me", body={"topicName": second}).execute()


def test_watch_by_labels(sandbox: Sandbox, gmail: Users, admin: SandboxClient, mail: Mail) -> None:
    body = {"topicName": sandbox.topic, "labelIds": ["INBOX"], "labelFilterBehavior": "INCLUDE"}
    gmail().watch(userId="me", body=body).execute()
    pulled(sandbox)
    for labels, count in ((["SENT"], 0), (["INBOX"], 1)):
        sandbox.clock.advance(2)
        admin.deliver(ALICE, mail(), labels)
        assert len(pulled(sandbox)) == count
    gmail().watch(userId="me", body=body | {"labelFilterBehavior": "exclude"}).execute()
    pulled(sandbox)
    for labels, count in ((["SENT"], 1), (["INBOX"], 0)):
        sandbox.clock.advance(2)
        admin.deliver(ALICE, mail(), labels)
        assert len(pulled(sandbox)) == count


def test_watch_can_ask_for_the_publisher_grant(sandbox: Sandbox, gmail: Users, admin: SandboxClient) -> None:
    admin.call("require_grant", on=True)
    users = gmail()
    with pytest.raises(HttpError) as error:
        users.watch(userId="me", body={"topicName": sandbox.topic}).execute()
    assert reason(error) == (403, "forbidden")
    endpoint = str(sandbox.endpoints()["pubsub"])
    with grpc.insecure_channel(endpoint) as channel:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        policy = publisher.get_iam_policy(request={"resource": sandbox.topic})
        policy.bindings.add(
            role="roles/pubsub.publisher",
            members=["serviceAccount:gmail-api-push@system.gserviceaccount.com"],
        )
        publisher.set_iam_policy(request={"resource": sandbox.topic, "policy": policy})
    users.watch(userId="me", body={"topicName": sandbox.topic}).execute()


def test_notifications_can_be_lost_doubled_and_late(
    sandbox: Sandbox, gmail: Users, admin: SandboxClient, mail: Mail
) -> None:
    users = gmail()
    users.watch(userId="me", body={"topicName": sandbox.topic}).execute()
    pulled(sandbox)
    for fault, count in (("lost", 0), ("double", 2)):
        admin.set_faults({fault: 1})
        sandbox.clock.advance(2)
        admin.deliver(ALICE, mail())
        assert len(pulled(sandbox)) == count
    admin.set_faults({"delay": 1, "delay_seconds": 0.05})
    sandbox.clock.advance(2)
    admin.deliver(ALICE, mail())
    assert len(sandbox.broker.take(sandbox.subscription, 1, 5)) == 1


# -- batch, quota, faults, accounts -----------------------------------------------------------------------------------


def test_a_batch_answers_each_call_for_itself_in_any_order(
    sandbox: Sandbox, gmail: Users, admin: SandboxClient, mail: Mail, credentials: Callable[..., Any]
) -> None:
    made = [admin.deliver(ALICE, mail(str(n))) for n in range(9)]
    answers: dict[str, Any] = {}
    errors: dict[str, HttpError] = {}

    def done(request_id: str, answer: Any, error: Any) -> None:
        (errors if error else answers)[request_id] = error or answer

    batch = BatchHttpRequest(callback=done, batch_uri=f"{sandbox.base}/batch")
    users = gmail()
    for gmail_id in [*made, "ffffffffffffffff"]:
        batch.add(users.messages().get(userId="me", id=gmail_id), request_id=gmail_id)
    batch.execute()
    assert {key: value["id"] for key, value in answers.items()} == {one: one for one in made}
    order = []
    for one in made:
        part = f"--b\r\nContent-ID: <x + {one}>\r\n\r\nGET /gmail/v1/users/me/messages/{one} HTTP/1.1\r\n\r\n\r\n"
        order.append(part)
    request = urllib.request.Request(
        f"{sandbox.base}/batch",
        "".join([*order, "--b--"]).encode(),
        {"Authorization": f"Bearer {admin.access_token(ALICE)}", "Content-Type": "multipart/mixed; boundary=b"},
    )
    with urllib.request.urlopen(request) as response:
        order = re.findall(r"Content-ID: <response-x \+ (\w+)>", response.read().decode())
    assert sorted(order) == sorted(made)
    assert order != made
    assert errors["ffffffffffffffff"].status_code == 404
    assert errors["ffffffffffffffff"].error_details[0]["reason"] == "notFound"


def test_the_batch_of_a_patched_document_goes_to_the_sandbox(
    sandbox: Sandbox, admin: SandboxClient, mail: Mail, credentials: Callable[..., Any]
) -> None:
    from googleapiclient.discovery_cache import get_static_doc

    document = json.loads(get_static_doc("gmail", "v1"))
    document |= {"rootUrl": f"{sandbox.base}/", "baseUrl": f"{sandbox.base}/"}
    service = build_from_document(document, credentials=credentials())
    gmail_id = admin.deliver(ALICE, mail())
    found = []
    batch = service.new_batch_http_request(callback=lambda _id, answer, _error: found.append(answer["id"]))
    batch.add(service.users().messages().get(userId="me", id=gmail_id))
    batch.execute()
    assert found == [gmail_id]


def get_in_batch(sandbox: Sandbox, users: Any, gmail_ids: list[str]) -> list[int]:
    codes = []

    def done(_id: str, _answer: Any, error: Any) -> None:
        codes.append(error.status_code if isinstance(error, HttpError) else 200 if error is None else 0)

    batch = BatchHttpRequest(callback=done, batch_uri=f"{sandbox.base}/batch")
    for gmail_id in gmail_ids:
        batch.add(users.messages().get(userId="me", id=gmail_id, format="minimal"))
    batch.execute()
    return codes


def test_a_batch_of_more_than_a_hundred_is_refused(
    sandbox: Sandbox, gmail: Users, admin: SandboxClient, mail: Mail
) -> None:
    gmail_id = admin.deliver(ALICE, mail())
    assert get_in_batch(sandbox, gmail(), [gmail_id] * 100) == [200] * 100
    with pytest.raises(HttpError) as error:
        get_in_batch(sandbox, gmail(), [gmail_id] * 101)
    assert error.value.status_code == 400


def test_parts_of_a_batch_beyond_the_concurrency_are_refused(
    sandbox: Sandbox, gmail: Users, admin: SandboxClient, mail: Mail
) -> None:
    gmail_id = admin.deliver(ALICE, mail())
    admin.set_limits(concurrent=2)
    codes = get_in_batch(sandbox, gmail(), [gmail_id] * 50)
    assert (codes.count(200), codes.count(429)) == (20, 30)


def test_broken_parts(sandbox: Sandbox, gmail: Users, admin: SandboxClient, mail: Mail) -> None:
    gmail_id = admin.deliver(ALICE, mail())
    admin.set_faults({"500": 0.5, "methods": ["messages.get"]})
    codes = get_in_batch(sandbox, gmail(), [gmail_id] * 40)
    assert 5 < codes.count(500) < 35
    assert codes.count(200) + codes.count(500) == 40


def test_the_minute_quota_of_a_user(sandbox: Sandbox, gmail: Users, admin: SandboxClient, mail: Mail) -> None:
    gmail_id = admin.deliver(ALICE, mail())
    admin.set_limits(user=101)
    users = gmail()
    messages = users.messages()
    for _ in range(5):
        messages.get(userId="me", id=gmail_id).execute()
    users.getProfile(userId="me").execute()
    with pytest.raises(HttpError) as error:
        users.getProfile(userId="me").execute()
    assert reason(error) == (403, "rateLimitExceeded")
    assert "Queries per minute per user" in error.value.reason
    gmail(BOB).getProfile(userId="me").execute()
    ledger = admin.quota_ledger()
    assert sum(row["units"] for row in ledger if row["user"] == ALICE.lower()) == 101
    assert sum(row["units"] for row in ledger if row["user"] == "") == 102
    sandbox.clock.advance(61)
    users.getProfile(userId="me").execute()
    admin.set_limits(project=1)
    sandbox.clock.advance(61)
    users.getProfile(userId="me").execute()
    with pytest.raises(HttpError) as error:
        users.getProfile(userId="me").execute()
    assert "limit 'Queries per minute' of" in error.value.reason
    admin.set_limits(project=0, burst=10)
    with pytest.raises(HttpError) as error:
        messages.get(userId="me", id=gmail_id).execute()
    assert (error.value.status_code, error.value.reason) == (429, "Resource has been exhausted (e.g. check quota).")


@pytest.mark.parametrize(
    ("fault", "code", "why"),
    [
        ("429", 429, "rateLimitExceeded"),
        ("403", 403, "userRateLimitExceeded"),
        ("500", 500, "backendError"),
        ("503", 503, "backendError"),
    ],
)
def test_refusals_by_fault(gmail: Users, admin: SandboxClient, fault: str, code: int, why: str) -> None:
    users = gmail()
    admin.set_faults({fault: 1, "count": 1, "retry_after": 7, "mailboxes": [ALICE]})
    gmail(BOB).getProfile(userId="me").execute()
    with pytest.raises(HttpError) as error:
        users.getProfile(userId="me").execute()
    assert reason(error) == (code, why)
    assert error.value.resp["retry-after"] == "7"
    users.getProfile(userId="me").execute()
    assert admin.counters()["faults"] == {fault: 1}


def test_timeouts_and_dropped_connections(gmail: Users, admin: SandboxClient) -> None:
    users = gmail()
    users.getProfile(userId="me").execute()
    for fault in ({"drop": 1, "count": 5}, {"timeout": 1, "timeout_seconds": 0.05, "count": 5}):
        admin.set_faults(fault)
        with pytest.raises((ConnectionError, OSError)):
            users.getProfile(userId="me").execute()
    admin.set_faults()
    users.getProfile(userId="me").execute()


def test_empty_history_pages_and_bare_stubs_by_fault(gmail: Users, admin: SandboxClient, mail: Mail) -> None:
    users = gmail()
    start = users.getProfile(userId="me").execute()["historyId"]
    admin.deliver(ALICE, mail())
    admin.set_faults({"empty_pages": 1, "bare_stubs": 1})
    first = users.history().list(userId="me", startHistoryId=start).execute()
    assert "history" not in first
    answer = users.history().list(userId="me", startHistoryId=start, pageToken=first["nextPageToken"]).execute()
    assert set(answer["history"][0]["messagesAdded"][0]["message"]) == {"id", "threadId"}


@pytest.mark.parametrize(
    ("state", "code", "why"),
    [("gmail_off", 400, "failedPrecondition"), ("domain_policy", 403, "domainPolicy"), ("suspended", 401, "authError")],
)
def test_states_of_an_account(
    gmail: Users, admin: SandboxClient, sandbox: Sandbox, state: str, code: int, why: str
) -> None:
    token = admin.access_token(ALICE)
    admin.set_state(ALICE, state)
    request = urllib.request.Request(
        f"{sandbox.base}/gmail/v1/users/me/profile", headers={"Authorization": f"Bearer {token}"}
    )
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request)
    body = json.loads(error.value.read())
    assert (error.value.code, body["error"]["errors"][0]["reason"]) == (code, why)


def test_a_metadata_scope_spoils_a_read_only_token(gmail: Users, admin: SandboxClient, mail: Mail) -> None:
    gmail_id = admin.deliver(ALICE, mail())
    messages = gmail(scopes=(READONLY, METADATA)).messages()
    with pytest.raises(HttpError) as error:
        messages.list(userId="me", q="in:inbox").execute()
    assert error.value.reason == "Metadata scope does not support 'q' parameter"
    with pytest.raises(HttpError) as error:
        messages.get(userId="me", id=gmail_id).execute()
    assert error.value.reason == "Metadata scope doesn't allow format FULL"
    assert messages.get(userId="me", id=gmail_id, format="metadata").execute()["id"] == gmail_id
    with pytest.raises(HttpError) as error:
        gmail(scopes=("openid",)).getProfile(userId="me").execute()
    assert reason(error) == (403, "insufficientPermissions")


def test_the_dump_tells_what_is_there(admin: SandboxClient, mail: Mail) -> None:
    gmail_id = admin.deliver(ALICE, mail(), ["INBOX", "Own label"], 1_700_000_000_000)
    assert admin.dump(ALICE)[ALICE]["messages"] == [
        {"id": gmail_id, "threadId": gmail_id, "labels": ["INBOX", "Own label"], "internalDate": 1_700_000_000_000}
    ]
    assert set(admin.dump()) == {ALICE, BOB}
    with pytest.raises(SandboxRequestError):
        admin.dump("nobody@corp.example")
