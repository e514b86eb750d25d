"""Automated or not: the facts, the score, its limits and its versions, mail by mail."""

import base64
import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dealmail.transforms import automated
from dealmail.transforms.automated_evidence import Evidence, is_robot_address
from dealmail.transforms.automated_facts import FACTS
from dealmail.transforms.automated_signals import SIGNALS
from dealmail.transforms.normalize_messages import normalize
from dealmail.transforms.plain_text import read_text
from dealmail.transforms.records import ClaimedMessage, FetchedMessage
from dealmail.transforms.settings import TeamSettings

CLAIM = ClaimedMessage("t", "m", "g", "lease", "alice@corp.example")
NEWEST = automated.rule_sets()[automated.newest()]

LETTER = """Hi Alice,

thanks for the call yesterday. I talked to our CFO and we would like to go ahead with the pilot. Could you send me the
contract by Friday? I am out on Thursday but you can reach me on my mobile.

Best regards,
Jane
"""
NEWSLETTER = """This week at Acme: save 20% on all plans! Learn more at https://acme.example/click/abc?utm_source=mail123
Register now for our webinar https://acme.example/webinar?id=123456789012
Read more https://acme.example/blog  Shop now https://acme.example/shop

You are receiving this email because you subscribed to our newsletter. Unsubscribe: https://acme.example/unsub
© 2026 Acme Inc. All rights reserved. Privacy policy https://acme.example/privacy
"""


def evidence(
    headers=None, text=LETTER, *, labels=("INBOX",), parts=None, is_contact=False, mime="text/plain"
) -> Evidence:
    fields = {
        "From": "Jane Doe <jane.doe@acme.example>",
        "To": "alice@corp.example",
        "Subject": "Pilot",
        "Message-ID": "<1@acme.example>",
    }
    fields |= headers or {}
    body = {"data": base64.urlsafe_b64encode(text.encode()).decode()}
    payload = {
        "mimeType": mime,
        "headers": [{"name": name, "value": value} for name, value in fields.items() if value is not None],
    }
    if parts is None:
        payload["body"] = body
    else:
        payload["parts"] = [{"mimeType": "text/plain", "headers": [], "body": body}, *parts]
    answer = {"id": "g", "labelIds": list(labels), "internalDate": "1777490133000", "payload": payload}
    message = normalize(FetchedMessage(CLAIM, json.dumps(answer).encode()))
    return Evidence.of(message, read_text(message.payload), is_contact=is_contact)


def judge(mail: Evidence, settings: TeamSettings | None = None, rules=NEWEST) -> automated.Verdict:
    return automated.judge(rules, mail, settings or TeamSettings())


LIST_FIELDS = {
    "List-Unsubscribe": "<https://acme.example/u?x=1>, <mailto:u@acme.example>",
    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    "List-Id": "<customers.acme.example>",
    "Precedence": "list",
    "Feedback-ID": "1:2:3:acme",
}


@pytest.mark.parametrize("version", list(automated.rule_sets()))
def test_a_plain_letter_is_a_persons(version):
    assert judge(evidence(), rules=automated.rule_sets()[version]).kind is None


@pytest.mark.parametrize("version", list(automated.rule_sets()))
def test_a_newsletter_is_marketing_and_says_why(version):
    mail = evidence(
        {"From": "Acme News <news@mail.acme.example>", "Subject": "Weekly newsletter: save 20%", **LIST_FIELDS},
        NEWSLETTER,
    )
    verdict = judge(mail, rules=automated.rule_sets()[version])
    assert verdict.kind == "marketing"
    assert {"unsubscribe-text", "bulk-address"} <= set(verdict.signals)
    assert verdict.score is not None
    assert not verdict.is_hard


def test_a_receipt_is_transactional():
    text = "Thank you for your order.\nOrder number: 4711\nOrder date: 2026-03-01\nTotal: $49.00\nShip to: Corp\nThis is an automated message, please do not reply."
    verdict = judge(
        evidence({"From": "Acme Billing <no-reply@acme.example>", "Subject": "Your receipt for order #4711"}, text)
    )
    assert verdict.kind == "transactional"


# --- case 90: headers that prove nothing ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LIST_FIELDS)
def test_case_90_no_list_field_alone_drops_a_persons_mail(name):
    assert judge(evidence({name: LIST_FIELDS[name]})).kind is None


def test_case_90_all_list_fields_together_do_not_drop_a_persons_mail():
    assert judge(evidence(LIST_FIELDS)).kind is None


@given(
    st.sets(st.sampled_from(sorted(LIST_FIELDS))),
    st.sampled_from(["jane.doe@acme.example", "jd@acme.example", "x7@acme.example"]),
)
def test_case_90_list_fields_never_drop_a_mail_for_which_nothing_else_speaks(names, sender):
    mail = evidence(
        {"From": sender, "Subject": "Pilot", **{name: LIST_FIELDS[name] for name in names}}, "Shall we meet at noon?"
    )
    verdict = judge(
        mail,
        TeamSettings(automated_threshold=-100.0, signals_off=frozenset(s.name for s in SIGNALS if s.group != "list")),
    )
    assert verdict.kind is None


def test_case_90_a_letter_through_a_google_group_is_kept():
    fields = {
        "Precedence": "list", "Mailing-list": "list support@corp.example; contact support+owners@corp.example", "List-ID": "<support.corp.example>",
        "X-Google-Group-Id": "123", "List-Post": "<mailto:support@corp.example>", "List-Unsubscribe": "<mailto:support+unsubscribe@corp.example>",
        "To": "support@corp.example",
    }  # fmt: skip
    footer = '\n-- \nYou received this message because you are subscribed to the Google Groups "support" group.\nTo unsubscribe from this group and stop receiving emails from it, send an email to support+unsubscribe@corp.example.\n'
    assert judge(evidence(fields, LETTER + footer)).kind is None


def test_case_90_a_persons_mail_sent_through_a_sales_tool_is_kept():
    fields = {
        "List-Unsubscribe": "<https://tool.example/u/1>", "X-SG-EID": "abc", "Return-Path": "<bounces+123-abc@em.tool.example>",
        "Subject": "Quick question about the pilot",
    }  # fmt: skip
    text = LETTER + "\nIf you do not want to hear from me, unsubscribe here: https://tool.example/u/1\n"
    assert judge(evidence(fields, text)).kind is None


def test_case_90_precedence_on_a_ticket_answer_is_kept():
    mail = evidence(
        {
            "From": "Jane Doe <support@acme.example>",
            "Precedence": "bulk",
            "Subject": "Re: [Ticket #123] Login",
            "In-Reply-To": "<x@corp.example>",
        }
    )
    assert judge(mail).kind is None


# --- case 91: Auto-Submitted ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["no", "No", "no (really)", ""])
def test_case_91_auto_submitted_no_is_human(value):
    assert judge(evidence({"Auto-Submitted": value})).kind is None


@pytest.mark.parametrize("value", ["auto-replied", "Auto-Replied; owner-email=x@y.example", "auto-replied (vacation)"])
def test_case_91_auto_replied_is_an_automatic_reply(value):
    assert judge(evidence({"Auto-Submitted": value})) == automated.Verdict(
        "reply", None, ("auto-replied",), is_hard=True
    )


def test_case_91_auto_generated_is_transactional_where_the_same_mail_without_it_is_not():
    headers = {"From": "Acme <office@acme.example>", "Subject": "Your invoice"}
    text = "Your invoice for May is attached.\n"
    assert judge(evidence({**headers, "Auto-Submitted": "no"}, text)).kind is None
    verdict = judge(evidence({**headers, "Auto-Submitted": "auto-generated"}, text))
    assert (verdict.kind, verdict.is_hard, "auto-submitted" in verdict.signals) == ("transactional", False, True)


AWAY = "I am out of the office until 3 March with limited access to my mail. In urgent cases please call Bob.\n"
RECEIVED = "Thank you for your message. We have received it and will get back to you within two days.\n"
PROGRAM_SUBJECTS = {
    "Automatic reply: Re: offer": AWAY,
    "Automatic Reply": AWAY,
    "Auto-Reply: Pilot": RECEIVED,
    "Out of Office: Pilot": AWAY,
    "Out of Office AutoReply: Pilot": AWAY,
    "OOO: Pilot": AWAY,
    "Abwesenheitsnotiz: Pilot": "Ich bin bis 3. März nicht im Büro. Ihre Nachricht wird nicht weitergeleitet.\n",
    "Automatische Antwort: Pilot": "Vielen Dank für Ihre Nachricht, ich bin bis 3. März im Urlaub.\n",
    "Réponse automatique : Pilot": "Je suis absent du bureau jusqu'au 3 mars.\n",
    "Respuesta automática: Pilot": "Estoy fuera de la oficina hasta el 3 de marzo.\n",
    "Autosvar: Pilot": "Jeg er på ferie til 3. mars.\n",
    "自動返信: x": "3月3日まで休暇をいただいております。\n",
}


@pytest.mark.parametrize(
    "greeting", ["", "Hello,\n\n", "Dear Sender,\n\n", "Dear sender,\n", "Bonjour,\n", "Greetings,\n"]
)
@pytest.mark.parametrize("subject", PROGRAM_SUBJECTS)
def test_case_91_away_notes_without_any_field_are_known_by_subject_and_text(subject, greeting):
    verdict = judge(evidence({"Subject": subject}, greeting + PROGRAM_SUBJECTS[subject]))
    assert (verdict.kind, verdict.signals) == ("reply", ("away-subject",))


LETTER_SUBJECTS = [
    "Automatic reply feature is broken",
    "Auto: insurance renewal",
    "Automated response module - question",
    "OOO: who covers for you next week?",
    "Out of office: who covers?",
    "Auto-reply rules",
    "Auto-reply: how do we turn it on?",
    "Vacation response setup in your product",
    "Automatic response to your API",
    "Automatische Antwort einrichten",
    "Autosvar virker ikke",
    "自動返信の設定について",
]


@pytest.mark.parametrize("subject", [*LETTER_SUBJECTS, *PROGRAM_SUBJECTS])
def test_case_91_a_letter_that_greets_by_name_is_kept_whatever_its_subject_says(subject):
    assert judge(evidence({"Subject": subject})).kind is None


@pytest.mark.parametrize("subject", LETTER_SUBJECTS)
@pytest.mark.parametrize(
    "text",
    [
        "Please call me about it, the automatic reply goes to all customers.\n\nJane\n",
        "Who covers for you while you are on vacation?\n\nJane\n",
    ],
)
def test_case_91_a_letter_that_greets_nobody_but_asks_is_kept_whatever_its_subject_says(subject, text):
    assert judge(evidence({"Subject": subject}, text)).kind is None


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        (
            {"Subject": "Out of office next week"},
            "I will be out of the office next week, so please send the contract today. Jane",
        ),
        ({"Subject": "On vacation from Friday"}, "I'll be on vacation. Please send the contract before. Jane"),
        ({"Subject": "On vacation"}, "I'll be on vacation from Friday. Please send me the contract before. Jane"),
        (
            {"Subject": "Re: contract", "X-Auto-Response-Suppress": "All"},
            "I'm on vacation from Friday; please send the contract before. Jane",
        ),
        (
            {"Subject": "Re: my vacation", "X-Auto-Response-Suppress": "All"},
            "I'm on vacation from Friday; please send the contract before. Jane",
        ),
        (
            {"Subject": "Re: contract", "Precedence": "bulk"},
            "I will be back on Monday. Can you send the contract then? Jane",
        ),
    ],
)
def test_case_91_a_persons_word_about_an_absence_is_kept_without_a_greeting_too(headers, text):
    assert judge(evidence(headers, text)).kind is None


@pytest.mark.parametrize(
    "headers",
    [
        {"Subject": "Automatic reply: Pilot", "X-Auto-Response-Suppress": "All"},
        {"Subject": "Automatic reply: Pilot", "Precedence": "bulk"},
        {"Subject": "Automatic reply: Pilot", "Auto-Submitted": "auto-generated"},
        {"Subject": "Out of office: Pilot", "Auto-Submitted": "auto-generated"},
        {"Subject": "Pilot", "Auto-Submitted": "auto-replied"},
        {"Subject": "Pilot", "X-Autoreply": "yes"},
    ],
)
def test_case_91_where_a_field_says_so_too_no_greeting_makes_an_automatic_reply_a_letter(headers):
    assert judge(evidence(headers, "Hi Alice,\n\nI read your mail on Monday.\n")).kind == "reply"


@pytest.mark.parametrize(
    "subject",
    [
        "Out of office until 3 March",
        "Out of the office - back on 3 March",
        "Abwesend bis 3. März",
        "On leave (3 March)",
    ],
)
def test_case_91_an_absence_with_its_end_in_the_subject_needs_the_text_too(subject):
    assert judge(evidence({"Subject": subject}, AWAY)).signals == ("away-subject",)
    assert judge(evidence({"Subject": subject}, "Please sign the contract before.\n\nJane\n")).kind is None


def test_case_91_a_program_that_says_nothing_of_an_absence_is_known_by_its_subject():
    verdict = judge(evidence({"Subject": "Auto-Response: your mail"}, "Our office opens at nine.\n"))
    assert verdict.signals == ("away-subject",)


@pytest.mark.parametrize("field", [{"X-Auto-Response-Suppress": "All"}, {"Precedence": "bulk"}])
def test_case_91_an_away_note_of_a_program_under_a_subject_of_its_own_is_dropped(field):
    assert judge(evidence({"Subject": "I am on holiday until 3 March", **field}, AWAY)).signals == ("away-note",)


@pytest.mark.parametrize("subject", ["Out of office", "Re: Out of office", "Abwesend", "On vacation"])
def test_case_91_a_vague_subject_needs_a_text_that_says_so_too(subject):
    assert judge(evidence({"Subject": subject}, AWAY)).kind == "reply"
    assert judge(evidence({"Subject": subject})).kind is None


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("Out of office (next week)", "Hi Alice, I will be out next week, so let us meet Friday.\n\nJane\n"),
        ("On vacation (July)", "Hi Alice, when are you on vacation? We should plan the rollout.\n\nJane\n"),
        (
            "Abwesenheit im August",
            "Hallo Alice, ich bin im August im Urlaub. Wollen wir vorher den Vertrag machen?\n\nJane\n",
        ),
        ("Re: out of the office next week", "Hi Alice, sounds good, I will be away too.\n\nJane\n"),
    ],
)
def test_case_91_letters_about_absences_are_kept(subject, text):
    assert judge(evidence({"Subject": subject}, text)).kind is None
    headers = {"Subject": "Re: holiday schedule", "X-Auto-Response-Suppress": "All"}
    assert judge(evidence(headers, text)).kind is None


@pytest.mark.parametrize(
    "subject",
    ["Our office moves out of town", "Vacation rental contract", "Automatic door order", "Re: absence of a signature"],
)
def test_subjects_that_only_sound_like_away_notes_are_kept(subject):
    assert judge(evidence({"Subject": subject})).kind is None


def test_case_91_a_robots_note_that_says_it_is_automated_is_no_reply():
    headers = {
        "Auto-Submitted": "auto-generated",
        "From": "Acme <no-reply@acme.example>",
        "Subject": "Remittance advice 7",
    }
    text = "Dear supplier,\n\nthis is an automated message. Payment of EUR 42.00 for invoice 7 has been sent.\n"
    assert judge(evidence(headers, text)).kind == "transactional"


# --- case 92: roles ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("local", ["support", "info", "sales"])
def test_case_92_a_customers_letter_from_a_role_address_is_kept(local):
    assert judge(evidence({"From": f"Acme <{local}@acme.example>"})).kind is None


def test_case_92_a_named_contact_at_a_role_address_is_kept_where_a_stranger_would_be_dropped():
    text = "Your order has been received.\nOrder number: 1\nStatus: open\nPriority: high\nLearn more at https://acme.example\n"
    headers = {"From": "Acme Support <support@acme.example>", "Subject": "Your ticket #123 has been updated"}
    assert judge(evidence(headers, text)).kind == "transactional"
    assert judge(evidence(headers, text, is_contact=True)).kind is None


def test_a_named_contacts_newsletter_is_still_a_newsletter():
    headers = {"From": "Acme News <news@acme.example>", "Subject": "Weekly newsletter", **LIST_FIELDS}
    assert judge(evidence(headers, NEWSLETTER, is_contact=True)).kind == "marketing"


# --- case 95, 96: reports and calendars -------------------------------------------------------------------------------

REPORT_PART = {
    "mimeType": "message/delivery-status",
    "headers": [{"name": "Content-Type", "value": "message/delivery-status"}],
    "body": {"size": 0},
}


@pytest.mark.parametrize(
    ("headers", "text", "parts"),
    [
        ({"Content-Type": "multipart/report; report-type=delivery-status"}, "hm", [REPORT_PART]),
        (
            {
                "From": "Mail Delivery Subsystem <MAILER-DAEMON@acme.example>",
                "Subject": "Returned mail: see transcript",
            },
            "x",
            None,
        ),
        ({"From": "postmaster@acme.example", "Subject": "Undeliverable: Pilot"}, "x", None),
        (
            {"From": "postmaster@acme.example", "Subject": "Pilot"},
            "The following address does not exist: jane@acme.example",
            None,
        ),
        ({"Return-Path": "<>", "Subject": "Delivery Status Notification (Failure)"}, "x", None),
        ({"Subject": "failure notice"}, "<jane@acme.example>:\n550 5.1.1 user unknown", None),
        ({"X-Failed-Recipients": "jane@acme.example"}, "x", None),
        ({"Subject": "Unzustellbar: Pilot"}, "550 5.1.1 <jane@acme.example>: user unknown", None),
        (
            {"From": "root <root@acme.example>", "Subject": "Permanent Delivery Failure"},
            "Session transcript follows:\nRCPT To: <jane@acme.example>\n550 no such user",
            None,
        ),
        ({"From": "MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@acme.example"}, "x", None),
        ({"Subject": "Nedoručitelné: Pilot"}, "Zprávu pro jane@acme.example nelze doručit.", None),
        ({"Subject": "Message not delivered"}, "Your message could not be delivered to jane@acme.example.", None),
        ({"Subject": "メール配信エラー"}, "jane@acme.example 宛のメールは配信できませんでした。", None),
        ({"Subject": "系统退信"}, "收件人 jane@acme.example 不存在", None),
    ],
)
def test_case_95_delivery_reports_in_all_their_forms(headers, text, parts):
    mime = "multipart/report" if parts else "text/plain"
    verdict = judge(evidence(headers, text, parts=parts, mime=mime))
    assert (verdict.kind, verdict.is_hard) == ("bounce", True)


RETURNED = "Received: from a.example by b.example\nFrom: alice@corp.example\nSubject: Pilot\n"
RFC822 = {"mimeType": "message/rfc822", "headers": [], "parts": []}


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        # fields
        ({"Auto-Submitted": "auto-generated (failure)"}, "x"),
        ({"Received": "(qmail 12 invoked for bounce); 1 Oct 2026 10:00:00 -0000"}, "x"),
        ({"X-MS-Exchange-Message-Is-Ndr": ""}, "x"),
        ({"X-MX-Bounce": "mta/src/queue/bounce"}, "x"),
        ({"From": "MAILER-DAEMON (Mail Delivery System)"}, "x"),
        ({"Return-Path": "<MAILER-DAEMON@mx.acme.example>", "Subject": "failure notice"}, "x"),
        ({"Return-Path": "<>", "From": "postmaster@acme.example", "Subject": "Re:Pilot"}, "x"),
        ({"From": "mailer-daemon@acme.example", "List-Id": "<l.acme.example>", "Subject": "Undeliverable: Pilot"}, "x"),
        # subjects and names, by language; Q-encoded ones that nobody decoded
        ({"Subject": "DELIVERY_FAILURE:_User_kim_not_listed"}, "User kim (kim@acme.example) does not exist"),
        ({"From": "System Administrator <ex1@acme.example>", "Subject": "Undeliverable: Pilot"}, "x"),
        ({"From": "Systemadministrator <ex1@acme.example>", "Subject": "Unzustellbar: Pilot"}, "x"),
        ({"From": "Administrateur système <ex1@acme.example>", "Subject": "Non remis : Pilot"}, "x"),
        ({"Subject": "Nu se poate livra: Pilot"}, "kim@acme.example\n <mx.acme.example #5.1.1>"),
        ({"Subject": "Niedostarczalne: Pilot"}, "Nie można dostarczyć: kim@acme.example\n550 5.1.1 no"),
        ({"Subject": "לא ניתן למסירה: Pilot"}, "kim@acme.example\n <mx.acme.example #5.1.1>"),
        ({"From": '"InterScan MSS" <imss@acme.example>', "Subject": "Mail could not be delivered"}, "x"),
        # words
        (
            {"Subject": "Undeliverable Mail"},
            f"Unknown user: kim@acme.example\n\nOriginal message follows.\n\n{RETURNED}",
        ),
        (
            {"Subject": "Rejected: Pilot"},
            "Your message to <kim@acme.example> was automatically rejected:\nQuota exceeded",
        ),
        ({"Subject": "This message could not be delivered"}, "kim@acme.example: mailbox full"),
        (
            {"From": "sysadmin@m.acme.example", "Subject": "Undeliverable Message"},
            "Message could not be delivered to the mobile.\nError: no valid recipients",
        ),
        (
            {"From": "list-admin@acme.example", "X-MLServer": "fml 4", "Subject": "Security Alert"},
            f"Insecure command.\nOriginal mail as follows:\n\n   {RETURNED}",
        ),
        # a program that says I
        (
            {"From": "qmail-send <qs@acme.example>", "Subject": "failure notice"},
            "I'm afraid I wasn't able to deliver your message to the following addresses.\n\n<kim@acme.example>:\n"
            "Sorry, I couldn't find any host named acme.example. (#5.1.2)\n",
        ),
        # an address is no first person
        ({"Subject": "Undeliverable: Pilot"}, "kim@acme.eu\n\nuser unknown"),
        ({"Subject": "Undeliverable: Pilot"}, "kim@my-shop.io\n\nuser unknown"),
        (
            {"From": "postmaster@acme.example"},
            "Dear Email User,\n\nyour message to kim@acme.example was not delivered.",
        ),
    ],
)
def test_case_95_delivery_reports_of_many_mail_systems(headers, text):
    verdict = judge(evidence({"From": "mx@acme.example", **headers}, text))
    assert (verdict.kind, verdict.is_hard) == ("bounce", True)


def test_case_95_a_returned_mail_from_nobody_is_a_report_whatever_it_says():
    headers = {"Return-Path": "<>", "From": "mx@acme.example", "Content-Type": "multipart/mixed; boundary=x"}
    assert judge(evidence(headers, "hm", parts=[RFC822], mime="multipart/mixed")).kind == "bounce"
    answered = {**headers, "Auto-Submitted": "auto-replied"}
    assert judge(evidence(answered, "hm", parts=[RFC822], mime="multipart/mixed")).kind == "reply"


def test_case_95_a_report_inside_of_another_mail_needs_no_status_part():
    report = {"mimeType": "multipart/report", "headers": [], "parts": [RFC822]}
    headers = {"Content-Type": "multipart/mixed; boundary=x"}
    assert judge(evidence(headers, "hm", parts=[report], mime="multipart/mixed")).kind == "bounce"
    forwarded = {**headers, "Subject": "Fwd: Pilot"}
    assert judge(evidence(forwarded, parts=[report], mime="multipart/mixed")).kind is None


def test_case_95_a_report_that_a_gateway_wrapped_is_one_still():
    headers = {"Content-Type": "multipart/mixed; boundary=x", "Subject": "[EXTERNAL] Pilot"}
    assert judge(evidence(headers, "hm", parts=[REPORT_PART], mime="multipart/mixed")).kind == "bounce"


CARRIED = [
    {"mimeType": "message/delivery-status", "headers": [], "body": {"size": 0}},
    {"mimeType": "message/disposition-notification", "headers": [], "body": {"size": 0}},
    {"mimeType": "message/feedback-report", "headers": [], "body": {"size": 0}},
    {
        "mimeType": "text/calendar",
        "headers": [{"name": "Content-Type", "value": "text/calendar; method=REQUEST"}],
        "body": {"size": 0},
    },
]


@pytest.mark.parametrize("part", CARRIED, ids=lambda part: part["mimeType"])
def test_a_persons_letter_that_carries_a_robots_mail_is_kept(part):
    report = {"mimeType": "multipart/report", "headers": [], "parts": [part]}
    carried = {"mimeType": "message/rfc822", "filename": "forwarded.eml", "headers": [], "parts": [report]}
    headers = {"Content-Type": "multipart/mixed; boundary=x", "Subject": "Fwd: what I got"}
    assert judge(evidence(headers, parts=[carried], mime="multipart/mixed")).kind is None


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        (
            {"Subject": "Delivery problem with order 7"},
            "Hi Alice,\n\nthe goods were not delivered yet. Can you check?\n\nJane\n",
        ),
        ({"Subject": "Delivery delayed"}, "The truck is delayed, the goods could not be delivered.\n\nJane\n"),
        ({"Subject": "Mailbox full"}, "Hi Alice,\n\nI got a note that your mailbox is full. Please call me.\n\nJane\n"),
        (
            {"Subject": "Notice: message about your mail server"},
            "Hi Alice,\n\nour mailbox is full, write to jane@home.example.\n\nJane\n",
        ),
        (
            {"Subject": "Consegna ordine 33"},
            "Ciao Alice,\n\nimpossibile consegnare lunedì, ci sentiamo martedì?\n\nGianni\n",
        ),
        (
            {"Subject": "Error de envío"},
            "Hola Alice,\n\nno se ha podido entregar el pedido al cliente. ¿Lo revisas?\n\nJuan\n",
        ),
        (
            {"Subject": "Zustellung Vertrag"},
            "Hallo Alice,\n\nder Vertrag konnte nicht zugestellt werden, bitte nochmal.\n\nGruß\nJane\n",
        ),
        (
            {"From": "Max Muster <mail@muster.example>"},
            "Hi Alice,\n\nthe contract has not been signed, I could not reach our CFO.\n\nMax\n",
        ),
        ({"From": "Max Muster <mail@muster.example>"}, "The contract has not been signed yet.\n\nMax\n"),
        ({"From": "Max Muster <administrator@muster.example>"}, "Hi Alice,\n\nwe did not reach a decision.\n\nMax\n"),
    ],
)
def test_case_95_letters_about_deliveries_and_mailboxes_are_kept(headers, text):
    assert judge(evidence(headers, text)).kind is None


TRANSCRIPT = (
    "<bob@corp.example>: host mx.corp.example said: 550 5.1.1 user unknown\nReporting-MTA: dns; mx.acme.example\n"
    "Final-Recipient: rfc822; bob@corp.example\nAction: failed\nStatus: 5.1.1\n"
)


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"Subject": "Re: Undeliverable: Pilot"}, "Works now, please send it again to jane@acme.example.\n"),
        ({"Subject": "Fwd: Undeliverable: Pilot"}, f"See below.\n\n{TRANSCRIPT}"),
        ({"Subject": "Mail problem"}, f"I get this when I write to your team:\n\n{TRANSCRIPT}"),
        ({"Subject": "Mail problem"}, f"We get this, any idea?\n\n{TRANSCRIPT}\nRegards\nJane Doe\n"),
        ({"Subject": "Returned mail"}, "My mail to bob@corp.example came back. Please call.\n\nJane\n"),
        (
            {"Subject": "Delivery failed"},
            "It was not delivered to the site. Call the driver, tom@acme.example.\n\nJane\n",
        ),
        (
            {"Subject": "Delivery failed", "From": "jane.doe@acme.example"},
            "It was not delivered to x@acme.example.\n\nJane\n",
        ),
        ({"Subject": "Consegna"}, "Impossibile consegnare oggi, scrivere a magazzino@acme.example.\n\nJane Doe\n"),
        (
            {"From": "Systemadministrator <it@acme.example>", "Subject": "Umzug"},
            "Mails konnten gestern nicht zugestellt werden, bitte nochmal senden.\n",
        ),
        ({"Return-Path": "<>"}, LETTER),
        ({"X-Apple-Action": "MOVE_TO_FOLDER/INBOX"}, LETTER),
        ({"Auto-Submitted": "no", "Received": "(qmail 12 invoked from network); 1 Oct 2026 10:00:00 -0000"}, LETTER),
    ],
)
def test_case_95_people_who_write_about_a_bounce_or_sign_are_kept(headers, text):
    assert judge(evidence(headers, text)).kind is None


def test_case_95_a_signed_letter_with_the_returned_mail_attached_is_kept():
    headers = {"Content-Type": "multipart/mixed; boundary=x", "Subject": "Your mail of yesterday"}
    text = "Here is the mail that has been rejected by our filter. We have released it now.\n\nJane Doe\n"
    assert judge(evidence(headers, text, parts=[RFC822], mime="multipart/mixed")).kind is None


def test_case_95_a_person_who_asks_about_a_bounce_is_kept():
    text = "Hi Alice,\n\nmy mail to Bob came back: 550 user unknown. Do you have his new address?\n\nThanks,\nJane\n"
    assert judge(evidence({"Subject": "Re: Bob's address"}, text)).kind is None


def _calendar(method: str) -> dict:
    return {
        "mimeType": "text/calendar",
        "headers": [{"name": "Content-Type", "value": f'text/calendar; charset="UTF-8"{method}'}],
        "filename": "",
        "body": {"size": 0},
    }


@pytest.mark.parametrize("method", ["REQUEST", "REPLY", "CANCEL", "COUNTER"])
def test_case_96_calendar_mail_is_dropped_whatever_its_method(method):
    verdict = judge(
        evidence(
            {"Content-Type": "multipart/alternative; boundary=x"},
            parts=[_calendar(f"; method={method}")],
            mime="multipart/alternative",
        )
    )
    assert (verdict.kind, verdict.is_hard) == ("calendar", True)


def test_case_96_a_letter_with_a_calendar_file_attached_is_kept():
    assert (
        judge(
            evidence({"Content-Type": "multipart/mixed; boundary=x"}, parts=[_calendar("")], mime="multipart/mixed")
        ).kind
        is None
    )


@pytest.mark.parametrize("subject", ["Invitation: our open day", "Notification: new prices", "Einladung: Messe"])
def test_case_96_a_letter_that_invites_with_a_calendar_file_is_kept(subject):
    file = {"mimeType": "application/ics", "filename": "day.ics", "headers": [], "body": {"size": 0}}
    headers = {"Content-Type": "multipart/mixed; boundary=x", "Subject": subject}
    assert judge(evidence(headers, parts=[file], mime="multipart/mixed")).kind is None
    assert (
        judge(evidence(headers, "When: Tuesday, 10:00\nWhere: Room 5\n", parts=[file], mime="multipart/mixed")).kind
        == "calendar"
    )


def test_read_receipts_are_automatic_replies_and_abuse_reports_are_transactional():
    receipt = evidence({"Content-Type": "multipart/report; report-type=disposition-notification"})
    assert judge(receipt).kind == "reply"
    abuse = evidence({"Content-Type": "multipart/report; report-type=feedback-report"})
    assert judge(abuse).kind == "transactional"


# --- settings, versions, shadow ---------------------------------------------------------------------------------------

NEWS = {"From": "Acme News <news@mail.acme.example>", "Subject": "Weekly newsletter", **LIST_FIELDS}


def test_a_team_can_keep_a_kind_raise_the_threshold_and_switch_signals_off():
    mail = evidence(NEWS, NEWSLETTER)
    assert judge(mail).kind == "marketing"
    assert judge(mail, TeamSettings(keep_kinds=frozenset({"marketing"}))).kind is None
    assert judge(mail, TeamSettings(automated_threshold=1000.0)).kind is None
    off = judge(mail, TeamSettings(signals_off=frozenset({"unsubscribe-text"})))
    assert "unsubscribe-text" not in off.signals
    assert (
        judge(
            evidence({"Auto-Submitted": "auto-replied"}),
            TeamSettings(signals_off=frozenset({"auto-replied", "auto-submitted"})),
        ).kind
        is None
    )
    assert (
        judge(
            evidence({"Auto-Submitted": "auto-replied", "Subject": "Pilot"}),
            TeamSettings(keep_kinds=frozenset({"reply"})),
        ).kind
        != "reply"
    )


def test_versions_are_chosen_by_setting_and_an_unknown_one_means_the_newest():
    first = next(iter(automated.rule_sets()))
    assert automated.rule_set(TeamSettings(rules=first)).version == first
    assert automated.rule_set(TeamSettings()).version == automated.newest()
    assert automated.rule_set(TeamSettings(rules="1999.9")).version == automated.newest()
    assert automated.shadow_rule_set(TeamSettings()) is None
    assert automated.shadow_rule_set(TeamSettings(shadow_rules=first)).version == first


def test_two_versions_side_by_side_report_what_would_change():
    nothing = automated.RuleSet("none", {}, -1.0, 1.0)
    report = automated.compare(nothing, NEWEST, [("a", evidence()), ("b", evidence(NEWS, NEWSLETTER))], TeamSettings())
    assert report.compared == 2
    assert report.changes == {("person", "marketing"): 1}
    assert report.examples == {("person", "marketing"): ("b",)}
    assert "1 would change" in report.lines()[0]


def test_every_signal_and_fact_has_one_name_and_a_source_and_every_weight_its_signs_meaning():
    names = [signal.name for signal in SIGNALS] + [fact.name for fact in FACTS]
    assert len(set(names)) == len(names)
    assert all(signal.source for signal in SIGNALS)
    for rules in automated.rule_sets().values():
        for signal in SIGNALS:
            weight = rules.weights.get(signal.name, 0.0)
            assert weight <= 0 if signal.leaning == "person" else weight >= 0


@pytest.mark.parametrize(
    ("address", "is_robot"),
    [
        ("no-reply@a.example", True),
        ("noreply+1@a.example", True),
        ("do_not_reply@a.example", True),
        ("MAILER-DAEMON@a.example", True),
        ("postmaster@a.example", True),
        ("jane@noreply.example", False),
        ("norepublic@a.example", False),
        ("support@a.example", False),
    ],
)
def test_no_reply_is_read_from_the_local_part_only(address, is_robot):
    assert is_robot_address(address) is is_robot


@given(st.text(max_size=300), st.text(max_size=60), st.sampled_from([signal.name for signal in SIGNALS]))
def test_every_signal_answers_between_zero_and_one_on_any_text(text, subject, name):
    mail = evidence({"Subject": subject.encode("utf-8", "ignore").decode()}, text.encode("utf-8", "ignore").decode())
    signal = next(signal for signal in SIGNALS if signal.name == name)
    assert 0.0 <= float(signal.measure(mail)) <= 1.0


def test_the_rules_page_names_every_fact_and_signal_with_its_weight():
    page = (pathlib.Path(__file__).parents[2] / "docs" / "rules.md").read_text("utf-8")
    for name, kind, _, weight in automated.describe():
        assert (f"| {name} | automated.{kind} |" if weight is None else f"| {name} | {kind} | {weight:+.2f} |") in page
