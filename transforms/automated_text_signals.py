"""Signals of automated mail in the text. Patterns are tried only where one of their words occurs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from .automated_evidence import ROBOT, Evidence, Signals, few, is_role_address, local_part

TEXT_SIGNALS: Final = Signals()
_signal = TEXT_SIGNALS.add
_WORD: Final = re.compile(r"[^\W\d_]{3,}")


class Said:
    """Whether a text says one of many things, asked cheaply: it has to hold one of `words` first of all.

    `phrases` are looked for as they stand; a pattern only where one of its hints occurs, which it cannot do without.
    """

    def __init__(self, words: str, phrases: str, patterns: Mapping[str, str]) -> None:
        self._words = frozenset(words.split())
        self._phrases = phrases.split("|")
        self.patterns = [(hints.split("|"), re.compile(pattern)) for hints, pattern in patterns.items()]

    def __call__(self, mail: Evidence) -> bool:
        """Whether the text of `mail` does."""
        if not mail.says(self._words):
            return False
        text = mail.lower
        for phrase in self._phrases:
            if phrase in text:
                return True
        for hints, pattern in self.patterns:
            for hint in hints:
                if hint in text:
                    if pattern.search(text):
                        return True
                    break
        return False


class _Phrases:
    """Phrases by their first word, so that only those whose first word occurs are looked for: all with one word at once."""

    def __init__(self, phrases: str) -> None:
        by_word: dict[str, list[str]] = {}
        for phrase in phrases.split("|"):
            by_word.setdefault(phrase.split()[0].rstrip(":"), []).append(phrase)
        self._by_word = {word: (re.compile("|".join(map(re.escape, found))), found) for word, found in by_word.items()}

    def count(self, mail: Evidence) -> int:
        """How many different phrases the text holds."""
        text = mail.lower
        found = 0
        for word in self._by_word.keys() & mail.bag.keys():
            any_of_them, phrases = self._by_word[word]
            if any_of_them.search(text):
                found += sum(phrase in text for phrase in phrases)
        return found


unsubscribes: Final = Said(
    "unsubscribe unsubscribed unsubscribing unsubscription opt optout sign signoff remove removed stop cancel discontinue leave preferences subscription settings profile "
    "abmelden abbestellen baja suscripción disiscriverti uitschrijven afmelden",
    "leave the list|email preferences|notification settings|abmelden|abbestell|désabonn|désinscri|darse de baja|disiscri|uitschrijven|afmelden|avregistrera|odhlásit|wypisz|отписат|配信停止|退订",
    {
        "opt": r"opt[- ]?out",
        "sign": r"sign[- ]?off",
        "remove": r"removed? (?:from|me)",
        "stop |cancel |discontinue ": r"(?:stop|cancel|discontinue) (?:receiv|these|your subscr|email)",
        "preferences|subscription|settings|profile": r"(?:change|manage|update|edit) (?:your )?(?:e-?mail )?(?:preferences|subscription|settings|profile)",
        "suscripci": r"cancelar (?:la )?suscripci",
        "iscrizione": r"annulla l.iscrizione",
    },
)


@_signal("unsubscribe-text", "marketing", "the text says how to be taken off", 2.0)
def _(mail: Evidence) -> float:
    return "unsubscri" in mail.lower or unsubscribes(mail)


needs_browser: Final = Said(
    "browser trouble cannot unable can't version add",
    "web version|online version|html version|im browser",
    {
        "view ": r"view (?:it |this |the )?(?:e-?mail |message |newsletter |page )?(?:in|on|with) (?:a |your |the )?(?:web|browser)",
        "trouble ": r"trouble (?:viewing|reading)",
        " see th| view th| read th": r"(?:can.?t|cannot|unable to) (?:see|view|read) (?:this|the)",
        "add ": r"add (?:us|\S{3,60}@\S{3,60}) to your",
    },
)


@_signal("browser-text", "marketing", "view in browser, images, HTML version", 1.4)
def _(mail: Evidence) -> float:
    return needs_browser(mail)


says_why: Final = Said(
    "receive receiving received sent getting subscribed registered signed opted because valued member subscriber mailing distribution list future forward friend",
    "because you|tell a friend",
    {
        "receiv|been sent|getting |got ": r"you(?:'re| are| have| were)? (?:now )?(?:receiv(?:ed?|ing)|been sent|getting|got) (?:this|these|our)",
        "sent to|sent by|sent from|sent on behalf": r"(?:message|mail|newsletter) (?:was|is|has been) (?:being )?sent (?:to|by|from|on behalf)",
        "subscribed|registered|signed up|opted": r"you (?:are |have |'?re )?(?:subscribed|registered|signed up|opted)",
        "as a ": r"as a (?:valued|registered|subscri|member)",
        " list": r"our (?:mailing|e-?mail|distribution) list",
        "future ": r"future (?:e-?mails|mailings|messages|issues)",
        "forward ": r"forward (?:this|it) to a (?:friend|colleague)",
    },
)


@_signal("why-you-text", "marketing", "you receive this because", 1.6)
def _(mail: Evidence) -> float:
    return says_why(mail)


says_program: Final = Said(
    "reply respond automated automatic automatically auto system computer generated unattended unmonitored monitored notification courtesy antworten nachricht responda",
    "unattended|unmonitored|not monitored|ne pas répondre|no responda",
    {
        " reply| respond": r"(?:don.t|please do ?n.t|not|no need to) (?:reply|respond)",
        "automat": r"automat(?:ed|ic|ically) (?:e-?mail|message|notif|generat|reply|sent|response|system)|automatically (?:by|from|generated|sent)",
        "generated": r"(?:auto|system|computer)[- ]generated",
        "this is a": r"this is an? (?:automat|notification|system|courtesy)",
        "sent by |sent from |ated by |ated from ": r"(?:sent|generated|created) (?:by|from) (?:the|an?|our) (?:system|automat|program|software)",
        "nicht auf diese ": r"nicht auf diese (?:e-?mail|nachricht)",
    },
)


@_signal("automatic-text", "transactional", "the text says that a program wrote it", 2.0)
def _(mail: Evidence) -> float:
    return says_program(mail)


has_imprint: Final = Said(
    "copyright rights privacy terms trademark trademarks impressum vorbehalten c",
    "©|copyright|all rights reserved|trademark|alle rechte vorbehalten",
    {
        "(c)": r"\(c\) ?(?:19|20)\d\d",
        "privacy ": r"privacy (?:policy|statement)",
        "terms ": r"terms (?:of (?:use|service)|and conditions)",
        "impressum": r"\bimpressum\b",
    },
)


@_signal("imprint", "marketing", "copyright, privacy policy, all rights reserved", 1.0)
def _(mail: Evidence) -> float:
    return has_imprint(mail)


_ACTIONS: Final = _Phrases(
    "click here|click below|click on|click the|click this|click|register now|register today|register online|register here|sign up|buy now|order now|order today|order online|"
    "order here|learn more|read more|shop now|shop online|download|visit us|visit our|visit the|visit www|visit http|subscribe|free trial|act now|limited time|"
    "for more information|call us|call now|call 1|call toll|toll free|toll-free|find out|check out|get started|see details|see more|see all|log on to|log in to|login to|"
    "logon to|log in at|log on at|go to http|go to www|go to our|full story|apply now|book now|view your|view all|view the|view online|view details|no obligation|special offer|"
    "credit card|best price|best rate|best deal|don't miss|be the first|join us|join now|join today|money back|money-back|winner|winners|sponsor|sponsors|sponsored|advertise|"
    "advertisement|advertising|% off|save up|try it|free shipping"
)


@_signal("call-to-action", "marketing", "click here, register now, learn more", 2.2)
def _(mail: Evidence) -> float:
    return few(_ACTIONS.count(mail), 5)


_DESK_WORDS: Final = _Phrases(
    "order number|order no|order #|order id|order total|order date|order status|order confirmation|invoice number|invoice no|invoice #|invoice date|invoice total|amount due|amount paid|"
    "amount charged|subtotal|total: $|total $|total: €|account number|account balance|account #|account manager|account information|account activity|confirmation number|confirmation code|"
    "confirmation #|your password|your username|your user|your account|your order|your payment|your purchase|your subscription|your registration|your login|your request|your reservation|"
    "shipped to|shipping to|ship to|tracking number|payment received|payment method|payment due|thank you for your|thank you for using|thank you for choosing|thank you for shopping|"
    "thank you for register|thank you for subscrib|reset your|verify your|confirm your|due date|billing address|billing period|billing statement|has been received|has been processed|"
    "has been shipped|has been approved|has been completed|has been created|has been updated|has been submitted|has been assigned|has been scheduled|has been changed|has been posted|"
    "has been added|has been activated|reference number|reference no|reference #|customer number|customer service|customer id|customer care|transaction|transactions|request id|request number|"
    "request status|request has|access has|access request|access to|pending your|to approve this|to approve the|to review this|to review the|to view this|to view the|to view your|to view it|"
    "requested by|submitted by|assigned to|status:|priority:|itinerary|flight|confirmed"
)


@_signal("desk-text", "transactional", "order numbers, totals, accounts, requests", 1.6)
def _(mail: Evidence) -> float:
    return few(_DESK_WORDS.count(mail), 5)


@_signal("links", "marketing", "how many links", 1.6)
def _(mail: Evidence) -> float:
    return few(mail.links, 12)


@_signal("link-density", "marketing", "links for each hundred words", 1.2)
def _(mail: Evidence) -> float:
    return min(1.0, 100 * mail.links / max(mail.words, 20) / 10) if mail.links else 0.0


_TRACKED: Final = re.compile(
    r"https?://[^\s/]{1,100}\S{0,200}?(?:\?\S{12}|/(?:click|track|trk|redir\w{0,9}|cgi-bin|r|l|c|t|ct|ls|wf|u|e)/\S{6})"
)


@_signal("tracking-links", "marketing", "links with long queries or to a click counter", 1.0)
def _(mail: Evidence) -> float:
    return few(len(_TRACKED.findall(mail.lower)), 4) if mail.links and "http" in mail.lower else 0.0


@_signal("links-home", "marketing", "several links to the author's own company", 0.6)
def _(mail: Evidence) -> float:
    mine = mail.company
    if not mine or not mail.links or mine not in mail.lower:
        return 0.0
    return few(max(0, len(re.findall(rf"(?:https?://|www\.)[^\s/]{{0,80}}{re.escape(mine)}", mail.lower)) - 1), 4)


@_signal("pictures", "marketing", "more than three pictures in the HTML", 0.6)
def _(mail: Evidence) -> float:
    return 0.0 if mail.has_quote else few(max(0, mail.html_images - 3), 10)


_RULE: Final = re.compile(r"[-=_*~+#.•<>|/\\ ]{5,}")
_BULLET: Final = re.compile(r"[*•·»>+-]\s+\S|\d{1,2}[.)]\s+\S|\[\d+\]|\(\d\)")
_FIELD: Final = re.compile(r"[A-Z][\w /#.&'-]{1,30}:\s*\S")


@_signal("layout", "marketing", "rules of signs, headings in capitals, bullets", 1.0)
def _(mail: Evidence) -> float:
    rules = heads = bullets = 0
    for line in mail.lines:
        if line[0].isalpha():
            heads += line.isupper() and len(line) > 8 and " " in line
        elif _RULE.fullmatch(line):
            rules += 1
        else:
            bullets += _BULLET.match(line) is not None
    return few(rules + heads + bullets // 2, 8)


@_signal("fields-layout", "transactional", "lines of a name, a colon and a value", 1.0)
def _(mail: Evidence) -> float:
    if len(mail.lines) >= 120:
        return 0.0
    named = sum(":" in line[:40] and _FIELD.match(line) is not None for line in mail.lines)
    return few(named, 6) if named >= 2 else 0.0


_MASS: Final = re.compile(
    r"\b(?:dear|hello|hi|greetings|attention|welcome),? (?:valued |fellow |our |all |preferred |new )?(?:customers?|members?|subscribers?|readers?|friends?|investors?|users?|colleagues?|sirs?|madam|alumni|clients?|shoppers?|travell?ers?|professionals?|guests?|website|participants?|there)\b"
)
_MASS_HINTS: Final = ("dear", "hello", "hi ", "hi,", "greetings", "attention", "welcome")


@_signal("mass-greeting", "marketing", "dear customer, dear member, hello friends", 1.2)
def _(mail: Evidence) -> float:
    start = mail.lower[:800]
    for hint in _MASS_HINTS:
        place = start.find(hint)
        while place >= 0:
            if _MASS.match(start, place):
                return 1.0
            place = start.find(hint, place + 1)
    return 0.0


@_signal("personal-greeting", "person", "the text begins with somebody's first name", -0.8)
def _(mail: Evidence) -> float:
    return bool(mail.greeted)


@_signal("greets-recipient", "person", "the text begins with a name that an address in To has", -0.6)
def _(mail: Evidence) -> float:
    name = mail.greeted
    return len(name) > 1 and any(
        name in f"{one.name.lower()} {local_part(one.address)}" for one in (*mail.recipients, *mail.copied)
    )


_NAME_LINE: Final = re.compile(
    r"(?:[-–~*] ?)?[A-ZÄÖÜÉ][\w'.-]{0,14}(?: [A-ZÄÖÜÉ][\w'.-]{0,16}){0,3},?(?: (?:PhD|MBA|CPA|PE|Jr|Sr)\.?)?"
)
_NAME_STARTS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÜÉ-–~*")


def _signed(mail: Evidence) -> set[str]:
    """The words of lines that hold nothing but a name, lower case."""
    lines = (line for line in mail.lines if len(line) < 50 and line[0] in _NAME_STARTS and _NAME_LINE.fullmatch(line))
    return {word.lower() for line in lines for word in _WORD.findall(line)}


@_signal(
    "signed-by-author", "person", "a line of its own holds a name that is in the author's address or display name", -1.2
)
def _(mail: Evidence) -> float:
    if is_role_address(mail.sender.address) or ROBOT.search(mail.local):
        return 0.0
    signed = _signed(mail)
    written = set() if mail.has_company_name else {word for word in mail.name_words if len(word) > 2}
    in_address = any(
        (len(name) > 3 and name in mail.local) or (len(name) > 2 and mail.local.startswith(name)) for name in signed
    )
    return bool(signed & written) or in_address


_SIGN_OFF: Final = re.compile(
    r"(?:many |best |kind |warm |with |kindest |very )*(?:thanks|thank you|thx|tks|regards|best|wishes|cheers|sincerely|talk to you|see you|love|take care|yours|truly|mfg|"
    r"viele grüße|mit freundlichen|beste grüße|lg|cordialement|saludos|un saludo|groeten|groet|saluti|atenciosamente|rgds|later)\b[^\n]{0,40}",
    re.I,
)


@_signal("sign-off", "person", "a line that ends letters, and a name below it or the end", -0.8)
def _(mail: Evidence) -> float:
    lines = mail.lines
    for place, line in enumerate(lines):
        if len(line) < 60 and _SIGN_OFF.fullmatch(line):
            after = lines[place + 1 : place + 3]
            if not after or any(len(one) < 50 and _NAME_LINE.fullmatch(one) for one in after):
                return 1.0
    return 0.0


_I: Final = frozenset(
    {"i", "i'm", "i'll", "i've", "i'd", "im", "me", "my", "ich", "mir", "mich", "je", "moi", "yo", "io"}
)
_YOU: Final = frozenset({"your", "yours", "you", "you'll", "you've", "you're", "ihr", "ihre", "votre", "vous"})


def _share(mail: Evidence, words: frozenset[str], least: int) -> float:
    """How many of a hundred words are among `words`; a text shorter than `least` words counts as that long."""
    return 100 * sum(mail.bag[word] for word in words & mail.bag.keys()) / max(mail.words, least)


@_signal("first-person", "person", "I, me, my: how often", -1.5)
def _(mail: Evidence) -> float:
    return min(1.0, _share(mail, _I, 25) / 6)


@_signal("impersonal-text", "marketing", "more than sixty words without one I", 0.8)
def _(mail: Evidence) -> float:
    return mail.words > 60 and _I.isdisjoint(mail.bag)


@_signal("second-person", "marketing", "you, your: how often", 0.6)
def _(mail: Evidence) -> float:
    return min(1.0, _share(mail, _YOU, 40) / 8)


_CHAT: Final = _Phrases(
    "let me know|give me a|give us a|what do you think|talk to|talk with|talked to|talked with|see you|i attached|i've attached|i have attached|attached is|attached are|attached please|"
    "please see|please find|per our|as we discussed|as discussed|just wanted|hope you|hope all|hope this finds|how are|sounds good|get together|do you have|do you know|do you want|"
    "do you think|can you|could you|did you|are you|would you"
)


@_signal("chatty", "person", "let me know, attached, give me a call, what do you think", -0.8)
def _(mail: Evidence) -> float:
    return few(_CHAT.count(mail), 3)


@_signal("quoting", "person", "it quotes or forwards a mail", -1.0)
def _(mail: Evidence) -> float:
    return mail.has_quote


@_signal("brief-text", "person", "fewer than sixty words, hardly a link", -0.8)
def _(mail: Evidence) -> float:
    return max(0.0, 1 - mail.words / 60) if mail.links <= 1 else 0.0


@_signal("long-text", "marketing", "more than three hundred words", 0.5)
def _(mail: Evidence) -> float:
    return min(1.0, max(0.0, (mail.words - 150) / 500))


_SUM: Final = re.compile(r"[$€£] ?\d")


@_signal("loud-text", "marketing", "exclamation marks and sums of money", 0.6)
def _(mail: Evidence) -> float:
    text = mail.lower
    sums = len(_SUM.findall(text)) if "$" in text or "€" in text or "£" in text else 0
    return min(1.0, (text.count("!") + sums) / max(mail.words, 50) * 20)
