"""The words of delivery reports, by language: what mail systems write in the subject and the text of a bounce.

From the terms of RFC 3464, the notices of well-known mail systems, and the languages in which Exchange, Outlook, Gmail and Yahoo
write theirs. A subject alone never decides: the sender or the text has to say so too.
"""

from __future__ import annotations

import re
from typing import Final

_DAEMON_NAME: Final = re.compile(
    r"mail deliver(?:y|) (?:sub)?system|maildelivery|mailer[- ]?daemon|mail(?:er)? administrator|postmaster|system administrator|mail system|internet mail delivery|mail-?zustell|"
    r"mail delivery (?:service|agent|program)|courier mail server|content-filter at|interscan|mailmarshal|spam firewall|mail (?:security )?(?:filter|gateway)$|\bndr administrator|non-?delivery",
)
_DAEMON_HINTS: Final = ("mail", "post", "admin", "scan", "filter", "firewall", "delivery")
"""One of them is in each of the names above, and in few others."""
_ADMINISTRATORS: Final = frozenset(
    [
        "systemadministrator",
        "systemadministratör",
        "systemansvarlig",
        "systeembeheerder",
        "administrateur système",
        "administrador del sistema",
        "administrador de sistema",
        "administrador do sistema",
        "amministratore di sistema",
        "järjestelmänvalvoja",
        "administrator systemu",
        "správce systému",
        "rendszergazda",
        "administrator sistema",
        "administrator sustava",
        "skrbnik sistema",
        "administrator de sistem",
        "sistemos administratorius",
        "sistēmas administrators",
        "süsteemiadministraator",
        "системный администратор",
        "системний адміністратор",
        "системен администратор",
        "sistem yöneticisi",
        "διαχειριστής συστήματος",
        "システム管理者",
        "系统管理员",
        "系統管理員",
        "시스템 관리자",
        "메일 관리자",
        "מנהל המערכת",
        "مسؤول النظام",
        "quản trị viên hệ thống",
        "ผู้ดูแลระบบ",
        "administrator sistem",
    ]
)
"""The name under which Exchange writes, in the languages that it speaks; whole, for people have it in theirs."""


def is_daemon_name(name: str) -> bool:
    """Whether mail systems write under the display name `name`."""
    lower = name.lower()
    if lower.strip() in _ADMINISTRATORS:
        return True
    return any(hint in lower for hint in _DAEMON_HINTS) and _DAEMON_NAME.search(lower) is not None


_ABROAD: Final = (
    # German, Dutch
    "unzustellbar", "zustellung", "nicht zustellbar", "nicht zugestellt", "nachricht (?:konnte )?nicht (?:zugestellt|zustellbar)", "e?-?mail[- ]?zustell", "rückläufer", "zustellfehler",
    "(?:benachrichtigung|bericht).{0,20}(?:übermittlung|zustell)", "niet bezorgd", "niet[- ]?bestelbaar", "onbestelbaar", "bezorging mislukt", "kan niet worden bezorgd",
    # French
    "mail non", "échec", "non remis", "[ée]chec (?:de|d.)", "message non (?:remis|distribué|délivré)", "courrier non (?:remis|distribué)", "(?:avis|rapport|notification).{0,20}(?:non[- ]remise|de remise|distribution)",
    # Italian, Spanish, Portuguese
    "messaggio non", "consegna", "mancat[ao] (?:recapito|consegna)", "non recapit", "impossibile (?:recapitare|consegnare)", "(?:avviso|notifica).{0,20}(?:recapit|consegna|stato)",
    "no se (?:ha podido|pudo|puede) entregar", "error de entrega", "no es pot lliurar", "non se pode entregar", "devolución", "correo (?:devuelto|no entregado)", "no entregad", "entrega fallida", "mensaje (?:no entregado|devuelto)",
    r"(?:error|fall[oa]|falha|notifica\w+).{0,25}(?:entreg|envío|envio)", "não (?:entreg|é possível entreg|foi possível entreg)", "mensagem (?:não entregue|devolvida)",
    # Scandinavian, Finnish
    "olevererba", "(?:kan|kunde) (?:inte|ej) levereras", "ej levererba", "(?:kan|kunne|blev) ikke lever", "ikke lever", "ulever", "toimittamaton", "ei voi(?:tu|da)? toimittaa", "kättetoimetamatu", "ekki hægt að", "toimittaminen epäonnistui", "viestiä ei voi",
    # Slavonic, Hungarian, Turkish, Greek
    "недостав", "не (?:удалось )?доставл?", "сообщение не доставлено", "ошибка доставки", "niedostarcz(?:on|aln)", "не вдалося достав", "не може да се достав", "не може се испоручити", "neisporučiv", "nedostavljiv", "nepristatom", "nepiegādājam", "nu se poate livra", "nelivrabil", "nie (?:można|udało się) dostarczyć", "nedoruč", "nelze doručit", "kézbesíthetetlen", "nem kézbesíthető",
    "teslim edileme", "iletilemedi", "δεν είναι δυνατή η παράδοση", "μη παραδόσιμ", "δεν παραδόθηκε", "αποτυχία παράδοσης",
    # Japanese, Chinese, Korean and others of Asia
    "未配達", "(?:メール|メッセージ)?[のをが]?(?:配信|配達)[のをが]?(?:エラー|不能|できません|失敗|されません)", "(?:メール|メッセージ)?[のをが]?送信(?:エラー|できません|失敗)", "(?:配信|配達)(?:不能|エラー)", "宛先不明", "エラーメール", "(?:戻り|リターン)メール",
    "(?:系统)?退信", "(?:邮件|郵件)?(?:投递|投遞|发送|傳送|传送)失[败敗]", "无法(?:送达|投递)", "無法(?:傳遞|傳送|投遞)", "未(?:送达|送達|传递|傳遞)", "邮件被退回", "(?:来自|來自).{1,60}退信", "반송", "메일이 반송", "(?:메일 )?(?:배달|전달|전송|발송)(?:되지 않| ?실패| ?불가)",
    "ไม่สามารถส่ง", "ส่งไม่ได้", "không (?:thể )?(?:gửi|chuyển)", "gagal terkirim", "tidak dapat (?:dikirim|dihantar)", "ההודעה לא נמסרה", "לא ניתן (?:למסירה|למסור)", "تعذر (?:ال)?تسليم", "غير قابل للتسليم", "لم يتم تسليم",
)  # fmt: skip
BOUNCE_SUBJECT: Final = re.compile(
    r"^\W*(?:\w{1,20}\]\s*)?(?:undeliver(?:able|ed)|delayed mail|mail delivery|e-?mail delivery|message status|error sending|banned contents|virus in mail|considered unsolicited|rejected (?:mail|post|message)|not member article|reject mail|mail system error|undelivered mail|un(?:able|successful) to deliver|returned (?:mail|e-?mail|message|to sender)|return(?:ed)? to sender|failure notice|failed (?:mail|delivery|to deliver)|failure delivery|delivery (?:status notification|status|failure|failed|error|notification|problem|report|has failed|unsuccessful|delayed)|"
    r"(?:mail|message|e-?mail)(?: |_|-)(?:delivery|transaction|system|status|could not|couldn't|not|un)(?: |-)?(?:fail|error|status|unsuccess|be deliver|deliver|problem|report|delay|deliverable|subsystem)|mail (?:error|failure|failed|returned)|message (?:failure|delayed|delivery|undeliverable)|non[- ]?(?:delivery|remise|deliverable)|"
    r"(?:warning|notice|error|notification|fatal error|nondeliverable|rejected|\[?bounce\]?)\b.{0,40}(?:deliver|could not send|mail|message|not sent)|(?:could|can) ?(?:no|n.)t (?:be )?(?:deliver|send)|could not send|your message .{0,40}(?:not|couldn.t|could not|blocked|rejected|wasn.t) ?(?:be )?(?:deliver|sent)?|user unknown|no such user|"
    r"(?:permanent|temporary|transient|final) (?:mail |message |e-?mail )?(?:delivery|failure|error|fail)|(?:e-?mail|mail|message|post) (?:was |has been |is )?(?:rejected|refused|blocked|bounced|undelivered|not delivered)|"
    r"(?:blocked|bounced|unsent|undelivered) (?:e-?mail|mail|message)|(?:unknown|invalid|bad) (?:user|recipient|e-?mail address|mailbox)|(?:address|recipient|mailbox|user|inbox)(?: inbox)? (?:not found|unknown|full|is full|unavailable|rejected|invalid|disabled)|"
    r"delivery (?:incomplete|delay|to \S+ (?:failed|delayed))|nd[rn]\s*[:\]]|your (?:e-?mail|mail|post) .{0,60}(?:bounced|not (?:be )?deliver|couldn.t be deliver|rejected)|there was an error sending|"
    r"sorry, your message|(?:this|the) (?:e-?mail|message|mail) (?:could not|couldn.t|was not|has not been) (?:be )?deliver|message you sent (?:was )?blocked|message frozen|error\(s\) in forwarding|fml system error|loop (?:alert|back warning)|\S+ smtp server: errors? from|(?:successful )?mail delivery (?:status )?report|"
    r"bad header from|virus.{0,40} in mail from you|(?:automatically )?rejected(?: (?:mail|message|post))?\s*:|[\w-]+: error report from|bounced?\s*:|no valid recipients?|recipient unknown|unknown (?:address|host)|host unknown|message (?:expired|not deliverable)|"
    + "|".join(_ABROAD)
    + ")",
    re.I,
)


def says_bounce(subject: str) -> bool:
    """Whether `subject` begins like a delivery report's; some arrive with underscores where blanks were."""
    return bool(BOUNCE_SUBJECT.match(subject) or ("_" in subject and BOUNCE_SUBJECT.match(subject.replace("_", " "))))


_TEXT_ABROAD: Final = (
    "(?:konnte|kann)[^.]{0,60} nicht (?:zu|aus)gestellt", "nicht zustellbar", "unbekannter empf", "empfänger.{0,40}(?:unbekannt|nicht gefunden|existiert nicht)", "kon(?:den)? niet worden (?:bezorgd|afgeleverd)", "niet bezorgd",
    "n.(?:a|ont) (?:pas )?pu être (?:remis|envoy|distribu)", "destinataire.{0,40}(?:inconnu|introuvable)", "impossibile (?:consegnare|recapitare)", "non è stato (?:possibile )?(?:recapitat|consegn)", "destinatario.{0,40}(?:sconosciuto|desconocido)",
    "no se (?:ha podido|pudo|puede) entregar", "no (?:pudo|ha podido) (?:ser )?entreg", "no se ha entregado", "no llegó a", "n.a pas (?:été (?:remis|distribu|délivr)|atteint)", "wurde nicht zugestellt", "empfänger nicht erreicht", "não (?:pôde|foi) (?:ser )?(?:possível )?entreg", "(?:kunde|kan) inte (?:levereras|nås)", "(?:kunne|kan) ikke (?:leveres|leverer)", "ei voitu toimittaa",
    "не (?:может быть|был[оа]?|удалось) достав", "пользовател.{0,30}не найден", "nie (?:mogła|można|została|udało się).{0,20}dostarcz", "(?:nelze|nebylo možné|nemohla být) doruč", "nem (?:sikerült|lehetett|lehet) kézbes", "teslim edile?medi", "δεν (?:ήταν δυνατή|μπόρεσε)",
    "送信できません", "(?:配信|配達)(?:できません|不能|に失敗|されません)", "届きません", "宛先(?:不明|が)", "ユーザー?が(?:存在|見つ)", "メールアドレス.{0,20}(?:存在し|見つかり|無効)", "无法(?:投递|送达)", "無法(?:傳遞|投遞|送達)", "(?:用户|收件人|信箱|邮箱).{0,60}(?:不存在|已满|无效)",
    "(?:전달|배달|전송)(?:되지|하지) (?:않|못)", "존재하지 않는",
)  # fmt: skip
BOUNCE_TEXT: Final = re.compile(
    r"reporting-mta:|final-recipient:|diagnostic-code:|original-recipient:|\b[45]\d\d[ -][45]\.\d\.\d|\b55[0-4][ -:]|\b45[0-2][ -]|user (?:is )?unknown|(?:mailbox|address|recipient|user|account) (?:is )?(?:unavailable|not found|does(?: not|n.t) exist|full|disabled|rejected|unknown|over quota|not listed)|"
    r"(?:could|can|was)(?: ?not|n.t| not be| never) (?:be )?(?:deliver|sent|send|reach)|(?:un(?:able|successful)|fail(?:ed|ure)?) (?:to|in) (?:deliver|send|reach|relay)|permanent (?:fatal )?error|delivery (?:to|of) .{0,120}(?:fail|delay|abort)|(?:did|has|have) not (?:been|reach)|(?:has been|was|is) (?:automatically )?(?:rejected|refused|blocked|returned|bounced|quarantined)|was considered unsolicited|delivery of the (?:e-?mail|message) was stopped|#[45]\.\d\.\d|unknown (?:user|recipient|host|e-?mail|address)|no (?:such|valid) recipients?|(?:invalid|unknown) final delivery|loop back warning|may cause mail loop|duplicated message-id|yet to be delivered|could not be forwarded|quota exceeded|no such (?:user|recipient|mailbox|address)|"
    r"undeliver|returned (?:mail|message|to (?:the )?sender)|this message was created automatically by mail|message (?:has been )?(?:rejected|refused|blocked|returned)|transcript of session follows|i.m afraid i wasn.t able|relay(?:ing)? denied|transmission error|host (?:not found|unknown)|invalid (?:recipient|address|mailbox)|not delivered|delivery (?:failed|error|failure)|"
    r"(?:could|can|was)(?: ?not|n.t) be (?:completed|processed|accepted|delivered)|rejected (?:by|for|because|due)|(?:is|are) not (?:a )?(?:valid|known|recogni[sz]ed) (?:recipient|address|user|mailbox|member)|no (?:such|valid) (?:account|recipients?|domain|person)|mailbox (?:size )?limit|over (?:its |their )?quota|"
    r"does not (?:exist|accept)|not a member|blocked (?:by|because|for)|temporarily deferred|delivery attempts?|message (?:is |was )?too (?:large|big)|size exceeds|delayed|bounced|"
    + "|".join(_TEXT_ABROAD),
    re.I,
)

COPY: Final = re.compile(
    r"original (?:message|mail)|below this line|(?:headers?|message text|mail) follows?|copy of (?:the|your)|message reads|^(?:received|return-path|message-id|from): ",
    re.I | re.M,
)
"""Where the mail begins that came back."""
TEXT_COPY: Final = re.compile(
    r"(?:original|below th(?:is|e next) line|follow|copy of|returned|unsent|reads)[^\n]*\n(?:[^\n]*\n){0,3}?[ \t]*(?:received: (?:from|by|\()|return-path:)",
    re.I,
)
"""A returned mail in the text, with the fields of its way: who forwards a mail has a program that leaves them out."""
FIRST_PERSON: Final = re.compile(
    r"(?<![\w.@-])(?:i|my|me|mine|ich|mir|mich|meine?n?|je|moi|mon|yo|io|eu)\b(?!['@-]|\.\w)"
    r"(?!\s+(?:(?:was|am|have been) unable to deliver|(?:wasn.t|was not|am not) able to (?:deliver|establish)|(?:couldn.t|could not) (?:find any|deliver)|can ?not deliver|don.t treat it|"
    r"tried to deliver|sent the message|am sending you this message|name was rejected|(?:list of )?(?:allowed|bad|valid) ?rcpt|control/))",
    re.I,
)
"""Said by people; not what mail programs say of themselves, and no part of an address."""

_MARKS: Final = (
    "reporting-mta:", "final-recipient:", "original-recipient:", "diagnostic-code:", "remote-mta:", "action: failed", "action: delayed", "rcpt to:", "mail from:",
    "transcript of session", "while talking to", "smtp error", "smtp server", "said: 5", "said: 4", "returned message", "original message follows", "message headers follow",
    "copy of the original", "copy of your message", "copy of the message", "return-path:", "undeliverable", "domain name not found", "status: 5.", "status: 4.",
    "created automatically by mail",
)  # fmt: skip
_MARKS_IN: Final = tuple(mark.encode() for mark in _MARKS)
_MARK_COLON: Final = re.compile(
    rb":(?:(?<=-mta:)|(?<=-recipient:)|(?<=c-code:)|(?<=action:)|(?<=rcpt to:)|(?<=mail from:)|(?<=said:)|(?<=return-path:)|(?<=status:))"
)
_MARK_HINTS: Final = (
    b"transcript of",
    b"e talking",
    b"smtp ",
    b"returned m",
    b"ge follows",
    b"rs follow",
    b"copy of ",
    b"undeliv",
    b"domain name",
    b"automatically by",
)
"""One of the two is in each of the marks, and nearly no mail has either."""
_CODE: Final = re.compile(
    r"[45](?<!\w[45])(?:\d\d[ -]+[45]\.\d\.\d|(?<=5)5[0-4] |(?<=#[45])\.[0-7]\.\d)"
)  # looks back: so a search may skip to a digit


def count_marks(text: str, *, code_alone: bool = True) -> int:
    """How many different marks of a transcript `text` holds. A code counts as one; alone only where `code_alone`."""
    if "\u0130" in text or "\u212a" in text:  # the two letters outside of ASCII that have an i or k as their lower case
        text = text.lower()
    lower = text.encode("utf-8", "surrogatepass").lower()
    marks = _MARKS_IN if _MARK_COLON.search(lower) or any(map(lower.__contains__, _MARK_HINTS)) else ()
    found = sum(mark in lower for mark in marks)
    return found + bool((found or code_alone) and _CODE.search(text))
