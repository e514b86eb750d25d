"""The sandbox's own JSON endpoints under /sandbox/: what people and servers would do to the mailboxes, and what can be read off."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .faults import parse_rule
from .http_server import Request, Response, json_response
from .mail_sources import internal_date
from .mailbox import Mailbox, NewMail, UnknownMessageError
from .pubsub_broker import NotFoundError
from .raw_mail import InMemory, index_mail

if TYPE_CHECKING:
    from .service import Sandbox

STATES = ("ok", "gmail_off", "domain_policy", "suspended", "deleted")


class Admin:
    """Routes `/sandbox/<action>`; an action takes a JSON object and gives one back."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._actions: dict[str, Callable[[dict[str, Any]], Any]] = {
            "endpoints": lambda _body: sandbox.endpoints(),
            "mailbox": self._add_mailbox,
            "deliver": self._deliver,
            "deliver_many": self._deliver_many,
            "modify": self._modify,
            "trash": self._trash,
            "delete": self._delete,
            "draft_save": self._draft_save,
            "draft_send": self._draft_send,
            "expire_history": lambda body: {"historyId": self._mailbox(body).expire_history()},
            "expire_pages": self._expire_pages,
            "grant": self._grant,
            "access_token": lambda body: {"access_token": sandbox.oauth.issue_access(body["mailbox"], *_scopes(body))},
            "service_account": lambda _body: sandbox.oauth.service_account(sandbox.base),
            "delegation": self._delegation,
            "revoke": lambda body: {"grants": sandbox.oauth.revoke_all(body["mailbox"])},
            "restore": lambda body: {"grants": sandbox.oauth.revoke_all(body["mailbox"], restore=True)},
            "expire_access": lambda body: sandbox.oauth.expire_access(body.get("mailbox", "")),
            "consent": self._consent,
            "state": self._state,
            "faults": self._faults,
            "limits": lambda body: vars(sandbox.quota.set_limits(**body)),
            "advance": lambda body: {"now": sandbox.clock.advance(float(body["seconds"]))},
            "push_route": self._push_route,
            "notify": self._notify,
            "push_interval": self._push_interval,
            "require_grant": self._require_grant,
            "quota": lambda _body: {"ledger": sandbox.quota.ledger()},
            "counters": self._counters,
            "dump": self._dump,
            "raw": lambda body: {"raw": _encode(self._mailbox(body).get(body["id"]).read())},
        }

    def handle(self, request: Request) -> Response:
        """One admin request: 400 with a text for a bad one, 404 for what is not there."""
        action = self._actions.get(request.path.removeprefix("/sandbox/").strip("/"))
        if action is None:
            return json_response({"error": f"no such action; there are {', '.join(sorted(self._actions))}"}, 404)
        try:
            body = request.json() or {name: values[-1] for name, values in request.query.items()}
            return json_response(action(body) or {})
        except UnknownMessageError as error:
            return json_response({"error": f"no such message or draft: {error.args[0]}"}, 404)
        except NotFoundError as error:
            return json_response({"error": f"not there: {error.args[0]}"}, 404)
        except (KeyError, ValueError, TypeError, binascii.Error) as error:
            return json_response({"error": f"{type(error).__name__}: {error}"}, 400)

    # -- actions -----------------------------------------------------------------------------------------------------

    def _mailbox(self, body: dict[str, Any]) -> Mailbox:
        mailbox = self._sandbox.mailboxes.get(str(body["mailbox"]).lower())
        if mailbox is None:
            raise ValueError("no such mailbox")
        return mailbox

    def _add_mailbox(self, body: dict[str, Any]) -> dict[str, Any]:
        self._sandbox.add_mailbox(body["mailbox"])
        return {"mailboxes": self._sandbox.endpoints()["mailboxes"]}

    def _new_mail(self, body: dict[str, Any]) -> NewMail:
        raw = base64.b64decode(body["raw"])
        when = body.get("internal_date")
        if when is None:
            when = self._sandbox.clock.now_ms()
        elif when == "from_headers":
            when = internal_date(index_mail(raw).headers, self._sandbox.clock.now())
        labels = frozenset(body.get("labels", ("INBOX", "UNREAD")))
        return NewMail(InMemory(raw), labels, int(when), body.get("id", ""), body.get("thread_id", ""))

    def _deliver(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"id": self._mailbox(body).deliver([self._new_mail(body)])[0]}

    def _deliver_many(self, body: dict[str, Any]) -> dict[str, Any]:
        """`loaded`: as if it had been there before anybody looked, without history and notification."""
        mailbox = self._mailbox(body)
        mails = [self._new_mail(one) for one in body["messages"]]
        if body.get("loaded"):
            return {"count": mailbox.load(mails)}
        return {"ids": mailbox.deliver(mails)}

    def _modify(self, body: dict[str, Any]) -> None:
        self._mailbox(body).modify(body["id"], body.get("add", ()), body.get("remove", ()))

    def _trash(self, body: dict[str, Any]) -> None:
        self._mailbox(body).trash(body["id"])

    def _delete(self, body: dict[str, Any]) -> None:
        self._mailbox(body).delete(body["ids"])

    def _draft_save(self, body: dict[str, Any]) -> dict[str, Any]:
        draft, message = self._mailbox(body).save_draft(base64.b64decode(body["raw"]), body.get("draft_id", ""))
        return {"draft_id": draft, "id": message}

    def _draft_send(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"id": self._mailbox(body).send_draft(body["draft_id"], body.get("labels", ()))}

    def _expire_pages(self, _body: dict[str, Any]) -> None:
        self._sandbox.gmail.page_generation += 1

    def _grant(self, body: dict[str, Any]) -> dict[str, Any]:
        self._mailbox(body)
        return {"refresh_token": self._sandbox.oauth.grant(body["mailbox"], *_scopes(body))}

    def _delegation(self, body: dict[str, Any]) -> None:
        scopes = body["scopes"]
        self._sandbox.oauth.delegated_scopes = None if scopes is None else frozenset(scopes)

    def _consent(self, body: dict[str, Any]) -> None:
        if body.get("mode", "auto") not in {"auto", "page"}:
            raise ValueError("mode is auto or page")
        consent = self._sandbox.oauth.consent
        consent.mode = body.get("mode", "auto")
        consent.refuse = bool(body.get("refuse", False))
        consent.untick = frozenset(body.get("untick", ()))
        consent.account = body.get("account", "")

    def _state(self, body: dict[str, Any]) -> None:
        if body["state"] not in STATES:
            raise ValueError(f"state is one of {', '.join(STATES)}")
        self._mailbox(body).state = body["state"]

    def _faults(self, body: dict[str, Any]) -> dict[str, Any]:
        if "rules" in body:
            self._sandbox.faults.set_rules([parse_rule(rule) for rule in body["rules"]], add=bool(body.get("add")))
        return {"counts": self._sandbox.faults.counts}

    def _push_route(self, body: dict[str, Any]) -> None:
        self._sandbox.create_push_route(body["topic"], body["subscription"], int(body.get("ack_deadline_seconds", 10)))

    def _notify(self, body: dict[str, Any]) -> None:
        topic = body.get("topic", self._sandbox.topic)
        self._sandbox.watches.notify(body["mailbox"], int(body["history_id"]), topic)

    def _push_interval(self, body: dict[str, Any]) -> None:
        self._sandbox.watches.interval = float(body["seconds"])

    def _require_grant(self, body: dict[str, Any]) -> None:
        self._sandbox.watches.require_grant = bool(body["on"])

    def _counters(self, _body: dict[str, Any]) -> dict[str, Any]:
        gmail = self._sandbox.gmail
        by_mailbox: dict[str, dict[str, int]] = {}
        for (user, name), count in list(gmail.by_mailbox.items()):
            by_mailbox.setdefault(user, {})[name] = count
        return {
            "requests": dict(gmail.requests),
            "by_mailbox": by_mailbox,
            "batches": self._sandbox.batch.batches,
            "faults": self._sandbox.faults.counts,
            "push": self._sandbox.watches.counts,
            "watches": self._sandbox.watches.live(),
            "pubsub": self._sandbox.broker.counts(),
        }

    def _dump(self, body: dict[str, Any]) -> dict[str, Any]:
        wanted = [self._mailbox(body)] if "mailbox" in body else list(self._sandbox.mailboxes.values())
        return {"mailboxes": {mailbox.address: _dump_mailbox(mailbox) for mailbox in wanted}}


def _scopes(body: dict[str, Any]) -> tuple[list[str], ...]:
    return (list(body["scopes"]),) if "scopes" in body else ()


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _dump_mailbox(mailbox: Mailbox) -> dict[str, Any]:
    names = mailbox.user_labels
    return {
        "historyId": mailbox.history_id,
        "drafts": dict(mailbox.drafts),
        "messages": [
            {
                "id": message.id,
                "threadId": message.thread_id,
                "labels": sorted(names.get(label, label) for label in message.labels),
                "internalDate": message.internal_date,
            }
            for message in mailbox.newest_first()
        ],
    }
