"""How mail programs quote and mark up: attribution lines, quotes, and the HTML of Outlook, Gmail, Apple Mail and Thunderbird."""

from __future__ import annotations

import datetime as dt
import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .mime import Mail

_EN_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = {
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "de": (
        "Januar",
        "Februar",
        "März",
        "April",
        "Mai",
        "Juni",
        "Juli",
        "August",
        "September",
        "Oktober",
        "November",
        "Dezember",
    ),
    "fr": ("janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."),
    "pl": ("sty", "lut", "mar", "kwi", "maj", "cze", "lip", "sie", "wrz", "paź", "lis", "gru"),
    "ru": ("янв.", "февр.", "мар.", "апр.", "мая", "июн.", "июл.", "авг.", "сент.", "окт.", "нояб.", "дек."),
}

_BLOCK_WORDS = {
    "en": ("From", "Sent", "To", "Subject"),
    "de": ("Von", "Gesendet", "An", "Betreff"),
    "fr": ("De", "Envoyé", "À", "Objet"),
    "pl": ("Od", "Wysłano", "Do", "Temat"),
    "ar": ("من", "تم الإرسال", "إلى", "الموضوع"),
}


def attribution(quoted: Mail, client: str, lang: str) -> str:
    """The line with which `client` in `lang` introduces a quote of `quoted`."""
    at: dt.datetime = quoted.local_time
    name, addr = quoted.sender
    who, clock = f"{name} <{addr}>", f"{at:%H:%M}"
    months = _MONTHS.get(lang, _MONTHS["en"])
    month = months[at.month - 1]
    if client == "thunderbird":
        return {
            "de": f"Am {at:%d.%m.%y} um {clock} schrieb {name}:",
            "fr": f"Le {at:%d/%m/%Y} à {clock}, {name} a écrit :",
            "pl": f"W dniu {at:%d.%m.%Y} o {clock}, {name} pisze:",
            "ru": f"{at:%d.%m.%Y} {clock}, {name} пишет:",
        }.get(lang, f"On {at:%d/%m/%Y} {clock}, {name} wrote:")
    return {
        "de": f"Am {at.day}. {month} {at.year} um {clock} Uhr schrieb {who}:",
        "fr": f"Le {at.day} {month} {at.year} à {clock}, {who} a écrit :",
        "pl": f"{at.day} {month} {at.year} o {clock} {who} napisał(a):",
        "ru": f"{at.day} {month} {at.year} г. в {clock}, {who}:",
        "ja": f"{at.year}年{at.month}月{at.day}日({'月火水木金土日'[at.weekday()]}) {clock} {who}:",
        "he": f"בתאריך {at.day}.{at.month}.{at.year} ב-{clock} מאת {who}:",
        "ar": f"في {at.day}/{at.month}/{at.year} {clock}، كتب {who}:",
    }.get(lang, f"On {_EN_DAYS[at.weekday()]}, {at.day} {month} {at.year} at {clock}, {who} wrote:")


def _block(quoted: Mail, lang: str) -> list[tuple[str, str]]:
    words = _BLOCK_WORDS.get(lang, _BLOCK_WORDS["en"])
    to = "; ".join(name or addr for name, addr in quoted.to)
    name, addr = quoted.sender
    values = (f"{name} <{addr}>", f"{quoted.local_time:%d.%m.%Y %H:%M}", to, quoted.subject)
    return list(zip(words, values, strict=True))


def with_plain_quote(text: str, mail: Mail) -> str:
    """`text` with the quote of what `mail` answers, the way its program quotes in text/plain."""
    quoted = mail.answers
    if quoted is None or not mail.quoting:
        return text + "\n"
    before = quoted.plain().rstrip("\n")
    if mail.client == "outlook":
        head = "\n".join(f"{word}: {value}" for word, value in _block(quoted, mail.lang))
        return f"{text}\n\n{head}\n\n{before}\n"
    marked = "\n".join(f">{line}" if line.startswith(">") else f"> {line}".rstrip() for line in before.split("\n"))
    return f"{text}\n\n{attribution(quoted, mail.client, mail.lang)}\n{marked}\n"


def _paragraphs(text: str) -> list[str]:
    return [html.escape(piece, quote=False) for piece in text.split("\n\n")]


def _listed(piece: str, item: str = "li") -> str | None:
    lines = piece.split("\n")
    if not all(line.startswith("- ") for line in lines):
        return None
    return "<ul>" + "".join(f"<{item}>{line[2:]}</{item}>" for line in lines) + "</ul>"


def _outlook(text: str) -> str:
    pieces = (
        _listed(p) or "<p class=MsoNormal>" + p.replace("\n", "<br>\n") + "<o:p></o:p></p>" for p in _paragraphs(text)
    )
    return "\n<p class=MsoNormal><o:p>&nbsp;</o:p></p>\n".join(pieces)


def _divs(text: str) -> str:
    out = []
    for piece in _paragraphs(text):
        out.append(_listed(piece) or "".join(f"<div>{line}</div>" for line in piece.split("\n")))
    return "<div><br></div>".join(out)


def _thunderbird(text: str) -> str:
    return "\n".join(_listed(p) or f"<p>{p.replace(chr(10), '<br>' + chr(10))}</p>" for p in _paragraphs(text))


def _inner(mail: Mail) -> str:
    right_to_left = mail.lang in {"ar", "he"}
    own = {"outlook": _outlook, "thunderbird": _thunderbird}.get(mail.client, _divs)(mail.text)
    if right_to_left:
        own = f'<div dir="rtl">{own}</div>'
    quoted = mail.answers if mail.quoting else None
    if quoted is None:
        return own if mail.client != "gmail" or right_to_left else f'<div dir="ltr">{own}</div>'
    before = _inner(quoted)
    line = html.escape(attribution(quoted, mail.client, mail.lang), quote=False)
    if mail.client == "outlook":
        head = "<br>\n".join(
            f"<b>{word}:</b> {html.escape(value, quote=False)}" for word, value in _block(quoted, mail.lang)
        )
        rule = "<div style='border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0cm 0cm 0cm'>"
        return f"{own}\n<div>{rule}<p class=MsoNormal>{head}<o:p></o:p></p></div></div>\n<p class=MsoNormal><o:p>&nbsp;</o:p></p>\n{before}"
    if mail.client == "apple":
        return f'{own}<div><br><blockquote type="cite"><div>{line}</div><br class="Apple-interchange-newline"><div>{before}</div></blockquote></div><br>'
    if mail.client == "thunderbird":
        return f'{own}<div class="moz-cite-prefix">{line}<br></div>\n<blockquote type="cite" cite="mid:{quoted.message_id}">{before}</blockquote>'
    return (
        f'<div dir="ltr">{own}</div><br><div class="gmail_quote gmail_quote_container"><div dir="ltr" class="gmail_attr">{line}<br></div>'
        f'<blockquote class="gmail_quote" style="margin:0px 0px 0px 0.8ex;border-left:1px solid rgb(204,204,204);padding-left:1ex">{before}</blockquote></div>'
    )


def page(mail: Mail) -> str:
    """The HTML that the author's program makes of `mail`, with the quoted history."""
    inner, charset = _inner(mail), mail.charset
    if mail.client == "outlook":
        return (
            '<html xmlns:v="urn:schemas-microsoft-com:vml" xmlns:o="urn:schemas-microsoft-com:office:office" xmlns="http://www.w3.org/TR/REC-html40">\n'
            f'<head><meta http-equiv="Content-Type" content="text/html; charset={charset}"><meta name=Generator content="Microsoft Word 15 (filtered medium)">\n'
            '<style><!--\n@font-face {font-family:Calibri;}\np.MsoNormal, li.MsoNormal {margin:0cm; font-size:11.0pt; font-family:"Calibri",sans-serif;}\n'
            'div.WordSection1 {page:WordSection1;}\n--></style><!--[if gte mso 9]><xml><o:shapedefaults v:ext="edit" spidmax="1026" /></xml><![endif]--></head>\n'
            f'<body lang=EN-GB link="#0563C1" vlink="#954F72" style="word-wrap:break-word"><div class=WordSection1>\n{inner}\n</div></body></html>\n'
        )
    if mail.client == "apple":
        return (
            f'<html><head><meta http-equiv="content-type" content="text/html; charset={charset}"></head>'
            f'<body style="overflow-wrap: break-word; -webkit-nbsp-mode: space; line-break: after-white-space;">{inner}</body></html>'
        )
    if mail.client == "thunderbird":
        return f'<!DOCTYPE html>\n<html>\n  <head>\n    <meta http-equiv="content-type" content="text/html; charset={charset}">\n  </head>\n  <body>\n{inner}\n  </body>\n</html>\n'
    return inner + "\n"
