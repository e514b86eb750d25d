"""RFC 822 bytes as Gmail's `messages` resource shows them: the tree of parts, their bodies, the snippet.

What Gmail does is taken from the discovery document (MessagePart, MessagePartBody) and from what others observed: transfer
encodings are undone, text bodies are re-encoded to UTF-8 while their Content-Type keeps the charset the sender wrote, header
values arrive unfolded and decoded, and anything that is not plain text in the body is fetched apart by `attachmentId`.
No input raises: mail from the wild breaks every rule.
"""

from __future__ import annotations

import base64
import binascii
import html
import quopri
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from .headers import decode_value, read_fields, shown_value, split_head, to_text

MAX_DEPTH = 60
MAX_PARTS = 2000
DEFAULT_INLINE_LIMIT = 256 * 1024
_PARAM = re.compile(r';\s*([^\s=;]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')
_TAGS = re.compile(r"(?is)<(style|script|head|title)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>")
AttachmentToken = Callable[[str], str]


@dataclass(slots=True)
class Part:
    """One node of the tree. `content` is the body with its transfer encoding undone, empty for containers."""

    part_id: str
    mime_type: str
    filename: str
    headers: list[tuple[str, str]]
    charset: str = ""
    content: bytes = b""
    parts: list[Part] = field(default_factory=list)

    @property
    def is_inline_text(self) -> bool:
        """Text that belongs to the body, not an attached file."""
        return self.mime_type.startswith("text/") and not self.filename

    def walk(self) -> Iterator[Part]:
        """The part and all below it, in order."""
        yield self
        for part in self.parts:
            yield from part.walk()


def parse(raw: bytes) -> Part:
    """The tree of parts of a message, at most 60 deep and 2,000 in all: what lies beyond is one opaque body."""
    return _parse(raw, "", 0, [MAX_PARTS])


def find_part(root: Part, part_id: str) -> Part | None:
    """The part with that id; the root's is the empty text."""
    return next((part for part in root.walk() if part.part_id == part_id), None)


def resource(root: Part, attachment_id: AttachmentToken, inline_limit: int = DEFAULT_INLINE_LIMIT) -> dict[str, object]:
    """`payload` of `format=full`. `attachment_id` makes the token for a part id; text over `inline_limit` bytes gets one too."""
    node: dict[str, object] = {
        "partId": root.part_id,
        "mimeType": root.mime_type,
        "filename": root.filename,
        "headers": header_list(root.headers),
    }
    if root.is_inline_text and not root.parts:
        body = _as_utf8(root)
        if len(body) > inline_limit:
            node["body"] = {"attachmentId": attachment_id(root.part_id), "size": len(root.content)}
        elif body:
            node["body"] = {"size": len(body), "data": base64.urlsafe_b64encode(body).decode("ascii")}
        else:
            node["body"] = {"size": 0}
    elif root.content:
        node["body"] = {"attachmentId": attachment_id(root.part_id), "size": len(root.content)}
    else:
        node["body"] = {"size": 0}
    if root.parts:
        node["parts"] = [resource(part, attachment_id, inline_limit) for part in root.parts]
    return node


def header_list(headers: list[tuple[str, str]]) -> list[dict[str, str]]:
    """`payload.headers`: a list, names as the sender wrote them, repeated fields kept."""
    return [{"name": name, "value": shown_value(name, value)} for name, value in headers]


def snippet(root: Part, limit: int = 200) -> str:
    """The first words of the text, HTML-escaped as Gmail gives them."""
    words = " ".join(body_text(root)[: limit * 20].split())
    return html.escape(words[:limit], quote=True).replace("&#x27;", "&#39;")


def body_text(root: Part) -> str:
    """The readable text: the first plain part, else the first HTML part without its tags."""
    texts = [part for part in root.walk() if part.is_inline_text and not part.parts]
    for part in texts:
        if part.mime_type == "text/plain":
            return _as_utf8(part).decode("utf-8")
    for part in texts:
        if part.mime_type == "text/html":
            return html.unescape(_TAGS.sub(" ", _as_utf8(part)[:200_000].decode("utf-8", "replace")))
    return ""


def _as_utf8(part: Part) -> bytes:
    return to_text(part.content, part.charset).encode("utf-8")


def _parse(raw: bytes, part_id: str, depth: int, budget: list[int], default: str = "text/plain") -> Part:
    budget[0] -= 1
    head, body = split_head(raw)
    headers = read_fields(head)
    first: dict[str, str] = {}
    for name, value in headers:
        first.setdefault(name.lower(), value)
    content_type = first.get("content-type", "")
    mime_type = _mime_type(content_type, default)
    type_params = _params(content_type)
    disposition = first.get("content-disposition", "")
    filename = _filename(_params(disposition), "filename") or _filename(type_params, "name")
    attached = disposition.strip().lower().startswith("attachment")
    part = Part(part_id, mime_type, filename, headers, type_params.get("charset", ""))
    deep = depth < MAX_DEPTH and budget[0] > 0
    boundary = type_params.get("boundary", "")
    if mime_type.startswith("multipart/") and boundary and deep:
        pieces = _split(body, boundary.encode("utf-8", "replace"))
        if pieces:
            inner = "message/rfc822" if mime_type == "multipart/digest" else "text/plain"
            for number, piece in enumerate(pieces):
                if budget[0] <= 0:
                    break
                part.parts.append(_parse(piece, _child(part_id, number), depth + 1, budget, inner))
            return part
    content = _undo_transfer_encoding(body, first.get("content-transfer-encoding", ""))
    if mime_type.startswith("multipart/"):
        part.mime_type, part.content = "text/plain", content
    elif mime_type == "message/rfc822" and deep:
        part.parts = [_parse(content, _child(part_id, 0), depth + 1, budget)]
        part.content = content if attached or filename else b""
    else:
        part.content = content
    if attached and not part.filename and part.mime_type.startswith("text/"):
        part.filename = "noname"
    return part


def _child(part_id: str, number: int) -> str:
    return f"{part_id}.{number}" if part_id else str(number)


def _split(body: bytes, boundary: bytes) -> list[bytes]:
    """The pieces between the boundary lines; a missing closing line ends at the end of the body."""
    marks = list(re.finditer(rb"(?m)^--" + re.escape(boundary) + rb"(--)?[ \t]*\r?$", body))
    pieces = []
    for number, mark in enumerate(marks):
        if mark.group(1):
            break
        start = body.find(b"\n", mark.end()) + 1
        if start == 0:
            break
        end = marks[number + 1].start() if number + 1 < len(marks) else len(body)
        piece = body[start:end]
        if end < len(body):
            piece = piece[:-2] if piece.endswith(b"\r\n") else piece.removesuffix(b"\n")
        if piece:
            pieces.append(piece)
    return pieces


def _mime_type(content_type: str, default: str) -> str:
    word = content_type.split(";", maxsplit=1)[0].strip().lower()
    return word if re.fullmatch(r"[!-.0-~]+/[!-.0-~]+", word) else default


def _params(value: str) -> dict[str, str]:
    """Parameters of a header value, RFC 2231's continuations and charsets undone, names in lower case."""
    plain: dict[str, str] = {}
    pieces: dict[str, dict[int, tuple[bool, str]]] = {}
    for name, found in _PARAM.findall(value[:20_000]):
        text = found.strip()
        if len(text) > 1 and text.startswith('"') and text.endswith('"'):
            text = re.sub(r"\\(.)", r"\1", text[1:-1])
        match = re.fullmatch(r"([^*]+)(?:\*(\d{1,4}))?(\*)?", name.lower())
        if match and (match.group(2) or match.group(3)):
            pieces.setdefault(match.group(1), {})[int(match.group(2) or 0)] = (bool(match.group(3)), text)
        else:
            plain.setdefault(name.lower(), text)
    for name, numbered in pieces.items():
        charset, data = "", b""
        for number in sorted(numbered):
            encoded, piece = numbered[number]
            if encoded and number == 0 and piece.count("'") >= 2:
                charset, _, piece = piece.split("'", 2)
            data += unquote_to_bytes(piece) if encoded else piece.encode("utf-8", "replace")
        plain[name] = to_text(data, charset)
    return plain


def _filename(params: dict[str, str], name: str) -> str:
    return decode_value(params.get(name, "")).replace("\r", "").replace("\n", "").strip()


def _undo_transfer_encoding(body: bytes, encoding: str) -> bytes:
    name = encoding.split(";", maxsplit=1)[0].strip().strip('"').lower()
    if name == "base64":
        return _decode_base64(body)
    if name == "quoted-printable":
        return quopri.decodestring(body)
    if name in {"x-uuencode", "uuencode", "x-uue", "uue"}:
        return _decode_uu(body)
    return body


def _decode_base64(body: bytes) -> bytes:
    data = re.sub(rb"[^A-Za-z0-9+/=]", b"", body).split(b"=", 1)[0]
    if len(data) % 4 == 1:
        data = data[:-1]
    return base64.b64decode(data + b"=" * (-len(data) % 4))


def _decode_uu(body: bytes) -> bytes:
    lines = iter(body.splitlines())
    for line in lines:
        if line.startswith(b"begin "):
            break
    else:
        return body
    data = b""
    for line in lines:
        if line.strip() == b"end":
            break
        try:
            data += binascii.a2b_uu(line)
        except binascii.Error:
            count = (((line[0] - 32) & 63) * 4 + 5) // 3 if line else 0
            try:
                data += binascii.a2b_uu(line[:count])
            except binascii.Error:
                continue
    return data
