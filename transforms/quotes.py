"""Where the quoted history and the signature of a mail stand: spans that a reader may fold. Nothing is cut.

What counts as quoted: lines that start with >; everything after an attribution ("On ... wrote:") or an Outlook header block,
up to where the writer goes on; the blockquotes that HTML mail marks as such. Forwarded mail is the message itself, not a
quote, and what would leave nothing unfolded is not folded.
"""

from __future__ import annotations

import re
from typing import Final

from .html_text import BLOCK_OPEN, QUOTE_CLOSE, QUOTE_OPEN
from .records import Span

MAX_LINES: Final = 20_000
"""Lines beyond this many are not looked at."""
_MAX_LINE: Final = 400

# An attribution ends in "wrote:" or its like; the verb comes last in most languages, first in a few.
_WROTE: Final = re.compile(
    r"(?:\b(?:wrote|writes|schrieb(?: am .{1,60})?|schreef|skrev|kirjoitti|escribi[óo]|escreveu|ha scritto|scrisse|a [ée]crit|"
    r"napisa[łl]\(?a?\)?|napsala?|nap[íi]sal\(?a?\)?|pisze|[íi]rta|a scris|yazd[ıi]|kirjutas|raksta|rašė|je napisal|je napisao|"
    r"đã viết|menulis|va escriure)\b|написала?\(?а?\)?|пише(?:т)?|пишет|писал\(?а?\)?|έγραψε|كتب|כתב(?:ה)?|写道|寫道|さん?は書きました|"
    r"님이 작성|เขียน)[^\n]{0,80}?\s?[:：]\s*$",
    re.IGNORECASE,
)
_STARTS: Final = re.compile(
    r"^\s*(?:>+\s*)?(?:On|Am|Le|El|Em|Il|Op|Den|Dne|Dnia|W dniu|På|Pe|La|Ons?dag|\d|On|Den|El|Tra|Vào|Pada|Στις|В|Дня|Von|From|"
    r"[\"'<\w].{0,80}(?:<|\[mailto:|@))",
    re.IGNORECASE,
)
_ORIGINAL: Final = re.compile(
    r"^\s*(?:[-_*=]{2,}\s*)?(?:Original Message|Original Appointment|Ursprüngliche Nachricht|Urspr\. Nachricht|Originalnachricht|"
    r"Message d'origine|Message original|Mensaje original|Mensagem original|Messaggio originale|Oorspronkelijk bericht|"
    r"Original(?:t)? ?meddelande|Ursprungligt meddelande|Oprindelig meddelelse|Opprinnelig melding|Alkuperäinen viesti|"
    r"Oryginalna wiadomość|Wiadomość oryginalna|Původní zpráva|Eredeti üzenet|Исходное сообщение|Оригинальное сообщение|"
    r"Mesajul original|Orijinal İleti|原始邮件|原始郵件|元のメッセージ|원본 메시지)\s*[-_*=]{2,}\s*$",
    re.IGNORECASE,
)
_FORWARDED: Final = re.compile(
    r"^\s*(?:[-_*=>]{2,}\s*)?(?:Begin forwarded message|Forwarded message|Forwarded by .{1,80}|Weitergeleitete Nachricht|"
    r"Anfang der weitergeleiteten (?:Nachricht|E-Mail)|Message transféré|Message transmis|Début du message (?:réexpédié|transféré)|"
    r"Mensaje reenviado|Mensagem encaminhada|Inizio messaggio inoltrato|Messaggio inoltrato|Doorgestuurd bericht|"
    r"Begin doorgestuurd bericht|Vidarebefordrat meddelande|Videresendt (?:meddelelse|melding)|Välitetty viesti|"
    r"Wiadomość przekazana|Přeposlaná zpráva|Továbbított üzenet|Пересылаемое сообщение|转发的邮件|轉寄郵件|転送メッセージ|전달된 메시지)"
    r"\s*:?\s*[-_*=]*\s*$",
    re.IGNORECASE,
)
_FROM: Final = re.compile(
    r"^\s*\*?(?:From|Von|De|Da|Van|Från|Fra|Lähettäjä|Od|Feladó|От|Від|Kimden|Från|De la|发件人|寄件者|差出人|보낸 사람|Från|Kimden|Từ)\*?\s?[:：]\*?\s*\S",
    re.IGNORECASE,
)
_OTHER_FIELDS: Final = re.compile(
    r"^\s*\*?(?:Sent|Date|To|Cc|Subject|Gesendet|Datum|An|Betreff|Envoyé|Date|À|Objet|Enviado(?: el)?|Fecha|Para|Asunto|Data|"
    r"Assunto|Inviato|A|Oggetto|Verzonden|Aan|Onderwerp|Skickat|Till|Ämne|Sendt|Til|Emne|Lähetetty|Vastaanottaja|Aihe|Wysłano|Do|"
    r"Temat|Odesláno|Komu|Předmět|Elküldve|Címzett|Tárgy|Отправлено|Дата|Кому|Тема|Gönderildi|Kime|Konu|发送时间|收件人|主题|"
    r"送信日時|宛先|件名|보낸 날짜|받는 사람|제목)\*?\s?[:：]",
    re.IGNORECASE,
)
_RULE: Final = re.compile(r"^\s*[_\-=*]{10,}\s*$")
_SENT_FROM: Final = re.compile(
    r"^\s*(?:Sent (?:from|via) (?:my |the )?\w|Sent with |Get Outlook for|Von meinem .{1,40} gesendet|Gesendet (?:von|mit) |"
    r"Envoyé (?:de(?:puis)?|à partir de) |Enviado (?:desde|do|de) (?:meu|mi|el|o)\b|Inviato da(?:l mio)? |Verzonden (?:vanaf|met) |"
    r"Skickat från |Sendt fra |Lähetetty |Wysłano z |Отправлено с|Odesláno z |iPhone(?:から送信)|发自我的|從我的)",
    re.IGNORECASE,
)
_MARKS: Final = re.compile(f"[{QUOTE_OPEN}{QUOTE_CLOSE}{BLOCK_OPEN}]")
_MAX_SIGNATURE: Final = 25


def find_spans(text: str) -> tuple[str, tuple[Span, ...]]:
    """`text` without html_text's marks, and its spans in order, never overlapping. Never raises."""
    marked = QUOTE_OPEN in text or BLOCK_OPEN in text or QUOTE_CLOSE in text
    lines = text.split("\n", MAX_LINES)
    rest = lines.pop() if len(lines) > MAX_LINES else None
    quoted = [False] * len(lines)
    if marked:
        lines = _take_marks(lines, quoted)
        if rest is not None:
            rest = _MARKS.sub("", rest)
    if ">" in text:
        _quote_arrows(lines, quoted)
    _quote_history(lines, quoted)
    signed = _signature_lines(lines, quoted)
    any_quoted = True in quoted
    if not marked and not any_quoted and not signed:
        return text, ()
    if all(quoted[i] or not line.strip() or i in signed for i, line in enumerate(lines)):
        quoted = [False] * len(lines)
        signed = range(0)
    whole = "\n".join([*lines, *([rest] if rest is not None else [])])
    return whole, _spans(lines, quoted, signed)


def _take_marks(lines: list[str], quoted: list[bool]) -> list[str]:
    """The lines without marks; `quoted` is set where the marks say so."""
    clean: list[str] = []
    opened: list[bool] = []
    for index, line in enumerate(lines):
        inside = any(opened)
        bare = line
        if QUOTE_OPEN in line or BLOCK_OPEN in line or QUOTE_CLOSE in line:
            bare = _MARKS.sub("", line)
            before_first = len(_MARKS.split(line, maxsplit=1)[0].strip()) > 0
            for mark in _MARKS.findall(line):
                if mark == QUOTE_CLOSE:
                    if opened:
                        opened.pop()
                else:
                    opened.append(
                        (mark == QUOTE_OPEN and not _forwarded_before(clean))
                        or (mark == BLOCK_OPEN and _attributed_before(clean))
                    )
            inside = inside or (any(opened) and not before_first)
        quoted[index] = inside and not (
            bare and QUOTE_CLOSE in line and line.strip()[0] == QUOTE_CLOSE and not any(opened)
        )
        clean.append(bare)
    return clean


def _last_lines(lines: list[str], count: int) -> list[str]:
    found: list[str] = []
    for line in reversed(lines[-12:]):
        if line.strip():
            found.append(line)
            if len(found) == count:
                break
    return found


def _forwarded_before(lines: list[str]) -> bool:
    return any(_FORWARDED.match(line) for line in _last_lines(lines, 8) if len(line) < _MAX_LINE)


def _attributed_before(lines: list[str]) -> bool:
    last = _last_lines(lines, 1)
    return bool(last) and len(last[0]) < _MAX_LINE and _WROTE.search(last[0]) is not None


def _quote_arrows(lines: list[str], quoted: list[bool]) -> None:
    """Lines that start with >, unless a forward was announced right before; a lone > in running text is none."""
    forwarded = False
    for index, line in enumerate(lines):
        if line[:1] in {">", " "} and line.lstrip(" ").startswith(">"):
            if not forwarded:
                quoted[index] = True
        elif line and (line[0] in "-_=* " or line[-1] in ":：-_"):
            forwarded = len(line) < _MAX_LINE and _FORWARDED.match(line) is not None
        elif line:
            forwarded = False


def _quote_history(lines: list[str], quoted: list[bool]) -> None:
    """Attributions and header blocks, and what follows them. The patterns are dear, so few lines are shown to them."""
    colons = [index for index, line in enumerate(lines) if line and line.rstrip()[-1:] in _COLONS]
    starts = {max(0, index - back) for index in colons for back in range(4)}
    starts.update(
        index
        for index, line in enumerate(lines)
        if line[:1] in _RULERS or line.find(":", 0, 20) > 0 or "：" in line[:8]
    )
    if not starts:
        return
    done = 0
    for index in sorted(starts):
        line = lines[index]
        if index < done or quoted[index] or len(line) > _MAX_LINE or not line.strip():
            continue
        if _FORWARDED.match(line):
            return
        after = _attribution_end(lines, quoted, index)
        if after is not None:
            done = _quote_end(lines, quoted, after)
        elif _header_block(lines, index):
            done = len(lines)
        quoted[index:done] = [True] * max(0, done - index)


_COLONS: Final = frozenset({":", "："})
_RULERS: Final = frozenset("-_=* ")


def _attribution_end(lines: list[str], quoted: list[bool], index: int) -> int | None:
    """The line after the attribution that starts at `index` (it may be wrapped over four lines), or None."""
    if not any(line.rstrip()[-1:] in _COLONS for line in lines[index : index + 4]) or not _STARTS.match(lines[index]):
        return None
    joined = ""
    for offset in range(4):
        if index + offset >= len(lines) or quoted[index + offset]:
            return None
        part = lines[index + offset].strip()
        if not part or len(joined) + len(part) > _MAX_LINE:
            return None
        joined = f"{joined} {part}".strip()
        if part.endswith((":", "：")):
            if _WROTE.search(joined) and (offset == 0 or re.search(r"\d|@", joined)):
                return index + offset + 1
            return None
    return None


def _quote_end(lines: list[str], quoted: list[bool], start: int) -> int:
    """Where the text that an attribution announces ends: after the arrows or the blockquote, else at the end of the mail."""
    index = start
    while index < len(lines) and not lines[index].strip():
        index += 1
    if index < len(lines) and not quoted[index]:
        return len(lines)
    while index < len(lines) and quoted[index]:
        index += 1
    return index


def _header_block(lines: list[str], index: int) -> bool:
    """Whether a reply's header block starts at `index`: a ruled line or "Original Message", then From: and two more fields."""
    line = lines[index]
    if _ORIGINAL.match(line):
        return True
    start = index
    if _RULE.match(line):
        start = index + 1
        while start < len(lines) and start < index + 3 and not lines[start].strip():
            start += 1
    if start >= len(lines) or len(lines[start]) > _MAX_LINE or not _FROM.match(lines[start]):
        return False
    following = [one for one in lines[start + 1 : start + 10] if one.strip()][:6]
    return sum(1 for one in following if len(one) < 4_000 and _OTHER_FIELDS.match(one[:_MAX_LINE])) >= 2


def _signature_lines(lines: list[str], quoted: list[bool]) -> range:
    """The lines of the signature: from "-- " (RFC 3676 section 4.3) or "Sent from my ..." to where the quote or the mail ends."""
    end = len(lines)
    while end and (quoted[end - 1] or not lines[end - 1].strip()):
        end -= 1
    for index in range(end - 1, max(-1, end - 1 - _MAX_SIGNATURE), -1):
        if quoted[index]:
            break
        line = lines[index]
        if line.rstrip() == "--" and index:
            return range(index, end)
        if len(line) < 120 and _SENT_FROM.match(line) and end - index <= 3:
            return range(index, end)
    return range(0)


def _spans(lines: list[str], quoted: list[bool], signed: range) -> tuple[Span, ...]:
    spans: list[Span] = []
    position = 0
    kind: str | None = None
    start = stop = 0
    for index, line in enumerate(lines):
        this = "signature" if index in signed else "quote" if quoted[index] else None
        if this is None and kind is not None and not line.strip():
            this = kind  # a blank line inside a quote does not split it; at its end `stop` leaves it out
        if this != kind:
            if kind is not None and stop > start:
                spans.append(Span("quote" if kind == "quote" else "signature", start, stop))
            kind, start, stop = this, position, position
        if this is not None and line.strip():
            stop = position + len(line)
        position += len(line) + 1
    if kind is not None and stop > start:
        spans.append(Span("quote" if kind == "quote" else "signature", start, stop))
    return tuple(spans)
