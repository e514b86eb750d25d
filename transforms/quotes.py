"""Where the quoted history and the signature of a mail stand: spans that a reader may fold. Nothing is cut.

What counts as quoted: lines that start with >; everything after an attribution ("On ... wrote:") or an Outlook header block,
up to where the writer goes on; the blockquotes that HTML mail marks as such. Forwarded mail is the message itself, not a
quote, and what would leave nothing unfolded is not folded.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from .html_marks import MARKS, QUOTE_CLOSE, QUOTE_OPEN
from .records import Span

MAX_LINES: Final = 20_000
"""Lines beyond this many are not looked at."""
_MAX_LINE: Final = 400
_Kind = Literal["quote", "signature"]

# An attribution ends in "wrote:" or its like; the verb comes last in most languages, first in a few.
_WROTE: Final = re.compile(
    r"(?:\b(?:wrote|writes|schrieb(?: am .{1,60})?|schreef|skrev|kirjoitti|escribi[óo]|escreveu|ha scritto|scrisse|a [ée]crit|"
    r"napisa[łl]\(?a?\)?|napsala?|nap[íi]sal\(?a?\)?|pisze|[íi]rta|a scris|yazd[ıi]|kirjutas|raksta|rašė|je napisal|je napisao|"
    r"đã viết|menulis|va escriure)\b|написала?\(?а?\)?|пише(?:т)?|пишет|писал\(?а?\)?|έγραψε|كتب|כתב(?:ה)?|写道|寫道|さん?は書きました|"
    r"님이 작성|เขียน)[^\n]{0,80}?\s?[:：]\s*$",
    re.IGNORECASE,
)
_VERBS: Final = (
    "wrote", "write", "schr", "skrev", "kirjo", "escr", "scri", "crit", "pisa", "psal", "pisze", "írta", "irta", "yazd", "kirjut",
    "rakst", "raš", "viết", "menulis", "писа", "пише", "γραψε", "كتب", "כתב", "写", "寫", "書", "작성", "เขียน",
)  # fmt: skip
"""Pieces of which every attribution's verb holds one: looking for them is ten times cheaper than the pattern."""
_STARTS: Final = re.compile(
    r"^(?:(?:On|Am|Le|El|Em|Il|Op|Den|Dne|Dnia|W dniu|På|Pe|La|Tra|Vào|Pada|Στις|В|Дня)\b|\d|[A-ZА-Я]\w{1,3}\.? \d|[а-я]{2}, \d)",
    re.IGNORECASE,
)
_STARTS_WEAKLY: Final = re.compile(r"^[\"'<\w].{0,80}(?:<|\[mailto:|@)")
_ORIGINAL: Final = frozenset({
    "original message", "original appointment", "ursprüngliche nachricht", "urspr. nachricht", "originalnachricht",
    "message d'origine", "message original", "mensaje original", "mensagem original", "messaggio originale",
    "oorspronkelijk bericht", "originalmeddelande", "original meddelande", "ursprungligt meddelande", "oprindelig meddelelse",
    "opprinnelig melding", "alkuperäinen viesti", "oryginalna wiadomość", "wiadomość oryginalna", "původní zpráva",
    "eredeti üzenet", "исходное сообщение", "оригинальное сообщение", "mesajul original", "orijinal i̇leti", "orijinal ileti",
    "原始邮件", "原始郵件", "元のメッセージ", "원본 메시지", "reply message", "reply separator",
})  # fmt: skip
_FORWARDED: Final = frozenset({
    "begin forwarded message", "forwarded message", "weitergeleitete nachricht", "anfang der weitergeleiteten nachricht",
    "anfang der weitergeleiteten e-mail", "message transféré", "message transmis", "début du message réexpédié",
    "début du message transféré", "mensaje reenviado", "mensagem encaminhada", "inizio messaggio inoltrato",
    "messaggio inoltrato", "doorgestuurd bericht", "begin doorgestuurd bericht", "vidarebefordrat meddelande",
    "videresendt meddelelse", "videresendt melding", "välitetty viesti", "wiadomość przekazana", "přeposlaná zpráva",
    "továbbított üzenet", "пересылаемое сообщение", "转发的邮件", "轉寄郵件", "転送メッセージ", "전달된 메시지",
})  # fmt: skip
_FORWARDED_BY: Final = ("forwarded by ", "forwarded message from ")
_FROM: Final = frozenset({
    "from", "von", "de", "da", "van", "från", "fra", "lähettäjä", "od", "feladó", "от", "від", "kimden", "de la", "发件人",
    "寄件者", "差出人", "보낸 사람", "từ",
})  # fmt: skip
_OTHER_FIELDS: Final = frozenset({
    "sent", "date", "to", "cc", "subject", "gesendet", "datum", "an", "betreff", "envoyé", "à", "objet", "enviado",
    "enviado el", "fecha", "para", "asunto", "data", "assunto", "inviato", "a", "oggetto", "verzonden", "aan", "onderwerp",
    "skickat", "till", "ämne", "sendt", "til", "emne", "lähetetty", "vastaanottaja", "aihe", "wysłano", "do", "temat",
    "odesláno", "komu", "předmět", "elküldve", "címzett", "tárgy", "отправлено", "дата", "кому", "тема", "gönderildi", "kime",
    "konu", "发送时间", "收件人", "主题", "送信日時", "宛先", "件名", "보낸 날짜", "받는 사람", "제목", "importance",
})  # fmt: skip
_SENT_FROM: Final = re.compile(
    r"^\s*(?:Sent (?:from|via) (?:my |the )?\w|Sent with |Get Outlook for|Von meinem .{1,40} gesendet|Gesendet (?:von|mit) |"
    r"Envoyé (?:de(?:puis)?|à partir de) |Enviado (?:desde|do|de) (?:meu|mi|el|o)\b|Inviato da(?:l mio)? |Verzonden (?:vanaf|met) |"
    r"Skickat från |Sendt fra |Lähetetty |Wysłano z |Отправлено с|Odesláno z |iPhone(?:から送信)|发自我的|從我的)",
    re.IGNORECASE,
)
_MARKS: Final = re.compile(f"[{''.join(MARKS)}]")
_MAX_SIGNATURE: Final = 25


def find_spans(text: str) -> tuple[str, tuple[Span, ...]]:
    """`text` without html_text's marks, and its spans in order, never overlapping. Never raises."""
    marked = any(mark in text for mark in MARKS)
    lines = text.split("\n", MAX_LINES)
    rest = [_MARKS.sub("", lines.pop())] if len(lines) > MAX_LINES else []
    quoted = bytearray(len(lines))  # 1 where a line is quoted
    if marked:
        _take_marks(_marked_lines(text), lines, quoted)
    if ">" in text and ("\n>" in text or "\n >" in text or text.startswith((">", " >"))):
        _quote_arrows(lines, quoted)
    _quote_history(lines, quoted, wide="：" in text)
    signed = _signature_lines(lines, quoted)
    whole = "\n".join(lines + rest) if marked else text
    if not signed and 1 not in quoted:
        return whole, ()
    if all(quoted[i] or not line.strip() or i in signed for i, line in enumerate(lines)):
        return whole, ()
    return whole, _spans(lines, quoted, signed)


def _marked_lines(text: str) -> list[int]:
    """The numbers of the lines that hold marks. The marks are few, so they are sought and not each line looked at."""
    found: set[int] = set()
    for mark in MARKS:
        line = done = 0
        place = text.find(mark)
        while place >= 0:
            line += text.count("\n", done, place)
            found.add(line)
            done = place
            place = text.find(mark, place + 1)
    return sorted(found)


def _take_marks(marked: list[int], lines: list[str], quoted: bytearray) -> None:
    """Takes the marks out of the lines that are `marked` and sets `quoted` where the marks say so."""
    opened: list[bool] = []
    depth = done = 0  # how many of the opened are quotes; how many lines are done
    for index in marked:
        if index >= len(lines):
            break
        inside = depth > 0
        if inside:
            quoted[done:index] = b"\1" * (index - done)
        line = lines[index]
        before_first = bool(_MARKS.split(line, maxsplit=1)[0].strip())
        for mark in _MARKS.findall(line):
            if mark == QUOTE_CLOSE:
                depth -= bool(opened and opened.pop())
            else:
                before = lines[max(0, index - 12) : index]
                is_quote = not _forwarded_before(before) if mark == QUOTE_OPEN else _attributed_before(before)
                opened.append(is_quote)
                depth += is_quote
                inside = inside or (is_quote and not before_first)
        if not depth and line.lstrip()[0] == QUOTE_CLOSE:
            inside = False  # what follows the last closing mark is the writer's own
        quoted[index] = inside
        lines[index] = _MARKS.sub("", line)
        done = index + 1
    if depth > 0:
        quoted[done:] = b"\1" * (len(lines) - done)


def _last_lines(lines: list[str], count: int) -> list[str]:
    found: list[str] = []
    for line in reversed(lines[-12:]):
        if line.strip():
            found.append(line)
            if len(found) == count:
                break
    return found


def _forwarded_before(lines: list[str]) -> bool:
    return any(_is_forward_line(line) for line in _last_lines(lines, 8))


def _attributed_before(lines: list[str]) -> bool:
    last = _last_lines(lines, 1)
    return bool(last) and len(last[0]) < _MAX_LINE and _has_verb(last[0])


def _quote_arrows(lines: list[str], quoted: bytearray) -> None:
    """Lines that start with >, unless a forward was announced right before; a lone > in running text is none."""
    forwarded = False
    last = -1
    arrows = [i for i, one in enumerate(lines) if one[:1] in _ARROWS and one.lstrip(" ").startswith(">")]
    for index in arrows:
        before = index - 1
        while before > last and not lines[before]:
            before -= 1
        if before > last:
            line = lines[before]
            forwarded = (line[0] in _RULERS or line.endswith(_LINE_END_COLONS)) and _is_forward_line(line)
        last = index
        if not forwarded:
            quoted[index] = 1


_ARROWS: Final = frozenset("> ")


def _quote_history(lines: list[str], quoted: bytearray, *, wide: bool) -> None:
    """Attributions and header blocks, and what follows them. Patterns are dear, so only lines that end in a colon see one.

    `wide`: there are full-width colons.
    """
    done = 0
    # Few lines come near a pattern: those that start like a rule or hold a colon.
    if wide:
        near = [i for i, one in enumerate(lines) if ":" in one or "：" in one or one[:1] in _RULERS]
    else:
        near = [i for i, one in enumerate(lines) if ":" in one or one[:1] in _RULERS]
    for index in near:
        if index < done:
            continue
        line = lines[index]
        if line[0] in _RULERS:
            core = line.strip(_RULER_LETTERS).lower() if len(line) <= _MAX_LINE else "-"
            if _announces_forward(core):
                return
            if core in _ORIGINAL or (not core and len(line) >= 10 and _header_block(lines, _next_line(lines, index))):
                done = len(lines)
        elif (0 < line.find(":", 0, 24) < 20 or "：" in line[:8]) and _header_block(lines, index):
            done = len(lines)
        if done <= index and line.endswith(_LINE_END_COLONS):
            if _announces_forward(line.strip(_RULER_LETTERS + ":：").lower()):
                return
            start, after = _attribution(lines, quoted, index)
            if after:
                done = _quote_end(lines, quoted, after)
                quoted[start:index] = b"\1" * (index - start)
        if done > index and not quoted[index]:
            quoted[index:done] = b"\1" * (done - index)


def _announces_forward(core: str) -> bool:
    return core.rstrip(": ") in _FORWARDED or core.startswith(_FORWARDED_BY)


def _is_forward_line(line: str) -> bool:
    return len(line) <= _MAX_LINE and _announces_forward(line.strip(_RULER_LETTERS + ":：").lower())


def _next_line(lines: list[str], index: int) -> int:
    """The next line after `index` that is not blank, at most two further; else past the end."""
    return next((one for one in range(index + 1, min(index + 4, len(lines))) if lines[one].strip()), len(lines))


_LINE_END_COLONS: Final = (":", "：", ": ", ":  ")
_RULER_LETTERS: Final = "-_=*> \t"
_RULERS: Final = frozenset("-_=*")


def _has_verb(line: str) -> bool:
    lowered = line.lower()
    if lowered.endswith(" wrote:"):
        return True
    return any(verb in lowered for verb in _VERBS) and _WROTE.search(line) is not None


_FACT: Final = re.compile(r"\d|@")
_DATED_SENDER: Final = re.compile(
    r"\d[.:/]\d\d\b.*[<(]\s*[^<>()\s]+@[^<>()\s]+[>)]\s?[:：]$"
)  # some clients write no verb


def _attribution(lines: list[str], quoted: bytearray, last: int) -> tuple[int, int]:
    """Where the attribution whose last line is `last` starts, wrapped over at most four lines, and the line after it; else 0, 0."""
    if len(lines[last]) > _MAX_LINE or quoted[last]:
        return 0, 0
    joined = ""
    weak = (0, 0)
    for start in range(last, max(-1, last - 4), -1):
        part = lines[start].strip()
        if not part or quoted[start] or len(joined) + len(part) > _MAX_LINE:
            break
        joined = f"{part} {joined}".strip()
        verb = _has_verb(joined)
        if start == last and len(part) > 20 and "@" not in part and not verb:
            break  # the verb or the address stands at the end; only a last word or two may be on a line of their own
        if (verb and (start == last or _FACT.search(joined))) or ("@" in joined and _DATED_SENDER.search(joined)):
            if _STARTS.match(part):
                return start, last + 1
            if _STARTS_WEAKLY.match(part):
                weak = (start, last + 1)
    return weak


def _quote_end(lines: list[str], quoted: bytearray, start: int) -> int:
    """Where the text that an attribution announces ends: after the arrows or the blockquote, else at the end of the mail."""
    index = start
    while index < len(lines) and not lines[index].strip():
        index += 1
    if index < len(lines) and not quoted[index]:
        return len(lines)
    while index < len(lines) and quoted[index]:
        index += 1
    return index


def _field(line: str) -> str:
    """The name in front of the colon of a line that looks like a header field, lower case; else ""."""
    name, colon, _ = line[:40].replace("：", ":").partition(":")
    return name.strip(" *\t>").lower() if colon else ""


def _header_block(lines: list[str], index: int) -> bool:
    """Whether the header block of a reply starts at `index`: a From line and at least two other fields soon after."""
    if index >= len(lines) or _field(lines[index]) not in _FROM or not lines[index].partition(":")[2].strip(" *"):
        return False
    following = [line for line in lines[index + 1 : index + 10] if line.strip()][:6]
    return sum(1 for line in following if _field(line) in _OTHER_FIELDS) >= 2


def _signature_lines(lines: list[str], quoted: bytearray) -> range:
    """The lines of the signature: from "-- " (RFC 3676 section 4.3) or "Sent from my ..." to where the quote or the mail ends."""
    end = len(lines)
    while end and (quoted[end - 1] or not lines[end - 1].strip()):
        end -= 1
    first = max(0, end - _MAX_SIGNATURE)
    tail = lines[first:end]
    if "--" in tail or "-- " in tail:
        for index in range(end - 1, first - 1, -1):
            if quoted[index]:
                break
            if index and lines[index] in {"--", "-- "}:
                return range(index, end)
    for index in range(end - 1, max(-1, end - 4), -1):
        line = lines[index]
        if line[:1] in _SENT_INITIALS and len(line) < 120 and _SENT_FROM.match(line) and not quoted[index]:
            return range(index, end)
    return range(0)


_SENT_INITIALS: Final = frozenset("SGVEILOWО发從i")


_RUNS: Final = re.compile(rb"\x01+|\x02+")
_KINDS: Final[dict[int, _Kind]] = {1: "quote", 2: "signature"}


def _spans(lines: list[str], quoted: bytearray, signed: range) -> tuple[Span, ...]:
    """The stretches of lines as stretches of characters; blank lines inside one belong to it."""
    quoted[signed.start : signed.stop] = b"\2" * len(signed)
    stretches: list[tuple[_Kind, int, int]] = []  # kind, first line, last line that is not blank
    for run in _RUNS.finditer(quoted):
        first, end = run.span()
        while first < end and not lines[end - 1].strip():
            end -= 1
        if first == end:
            continue
        kind = _KINDS[quoted[first]]
        while not lines[first].strip():
            first += 1
        if stretches and stretches[-1][0] == kind and not any(map(str.strip, lines[stretches[-1][2] + 1 : first])):
            first = stretches.pop()[1]
        stretches.append((kind, first, end - 1))
    spans: list[Span] = []
    line = place = 0  # where that line starts in the text
    for kind, first, last in stretches:
        place += sum(map(len, lines[line:first])) + first - line
        end = place + sum(map(len, lines[first : last + 1])) + last - first
        spans.append(Span(kind, place, end))
        line, place = last + 1, end + 1
    return tuple(spans)
