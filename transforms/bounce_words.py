"""The words of delivery reports, by language: what mail systems write in the subject and the text of a bounce.

From the terms of RFC 3464, the notices of well-known mail systems, and the languages in which Exchange, Outlook, Gmail and Yahoo
write theirs. A subject alone never decides: the sender or the text has to say so too.
"""

from __future__ import annotations

import re
from typing import Final

_ABROAD: Final = (
    # German, Dutch
    "unzustellbar", "zustellung", "nicht zustellbar", "nicht zugestellt", "nachricht (?:konnte )?nicht (?:zugestellt|zustellbar)", "e?-?mail[- ]?zustell", "rückläufer",
    "(?:benachrichtigung|bericht).{0,20}(?:übermittlung|zustell)", "niet bezorgd", "niet[- ]?bestelbaar", "onbestelbaar", "bezorging mislukt", "kan niet worden bezorgd",
    # French
    "mail non", "échec", "non remis", "message non (?:remis|distribué|délivré)", "courrier non (?:remis|distribué)", "(?:avis|rapport|notification).{0,20}(?:non[- ]remise|de remise|distribution)",
    # Italian, Spanish, Portuguese
    "messaggio non", "consegna", "mancat[ao] (?:recapito|consegna)", "non recapit", "impossibile (?:recapitare|consegnare)", "(?:avviso|notifica).{0,20}(?:recapit|consegna|stato)",
    "no se (?:ha podido|pudo|puede) entregar", "devolución", "correo (?:devuelto|no entregado)", "no entregad", "entrega fallida", "mensaje (?:no entregado|devuelto)",
    r"(?:error|fall[oa]|falha|notifica\w+).{0,25}(?:entreg|envío|envio)", "não (?:entreg|é possível entreg|foi possível entreg)", "mensagem (?:não entregue|devolvida)",
    # Scandinavian, Finnish
    "olevererba", "(?:kan|kunde) (?:inte|ej) levereras", "ej levererba", "(?:kan|kunne|blev) ikke lever", "ikke lever", "ulever", "toimittamaton", "toimittaminen epäonnistui", "viestiä ei voi",
    # Slavonic, Hungarian, Turkish, Greek
    "недостав", "не (?:удалось )?доставл?", "сообщение не доставлено", "ошибка доставки", "niedostarczon", "nie (?:można|udało się) dostarczyć", "nedoruč", "nelze doručit", "kézbesíthetetlen", "nem kézbesíthető",
    "teslim edilemedi", "iletilemedi", "δεν παραδόθηκε", "αποτυχία παράδοσης",
    # Japanese, Chinese, Korean and others of Asia
    "未配達", "(?:メール|メッセージ)?[のをが]?(?:配信|配達)[のをが]?(?:エラー|不能|できません|失敗|されません)", "(?:メール|メッセージ)?[のをが]?送信(?:エラー|できません|失敗)", "宛先不明", "エラーメール", "(?:戻り|リターン)メール",
    "(?:系统)?退信", "(?:邮件|郵件)?(?:投递|投遞|发送|傳送|传送)失[败敗]", "无法(?:送达|投递)", "無法(?:傳遞|傳送|投遞)", "未(?:送达|送達|传递|傳遞)", "邮件被退回", "반송", "(?:메일 )?(?:배달|전달|전송|발송)(?:되지 않| ?실패| ?불가)",
    "ไม่สามารถส่ง", "không thể (?:gửi|chuyển)", "gagal terkirim", "ההודעה לא נמסרה", "تعذر تسليم", "لم يتم تسليم",
)  # fmt: skip
BOUNCE_SUBJECT: Final = re.compile(
    r"^\W*(?:\w{1,20}\]\s*)?(?:undeliver(?:able|ed)|delayed mail|mail delivery|e-?mail delivery|message status|error sending|banned contents|virus in mail|considered unsolicited|rejected (?:mail|post|message)|not member article|reject mail|mail system error|undelivered mail|un(?:able|successful) to deliver|returned (?:mail|e-?mail|message|to sender)|return(?:ed)? to sender|failure notice|failed (?:mail|delivery|to deliver)|failure delivery|delivery (?:status notification|status|failure|failed|error|notification|problem|report|has failed|unsuccessful|delayed)|"
    r"(?:mail|message|e-?mail)(?: |_|-)(?:delivery|transaction|system|status|could not|couldn't|not|un)(?: |-)?(?:fail|error|status|unsuccess|be deliver|deliver|problem|report|delay|deliverable|subsystem)|mail (?:error|failure|failed|returned)|message (?:failure|delayed|delivery|undeliverable)|non[- ]?(?:delivery|remise|deliverable)|"
    r"(?:warning|notice|error|notification|fatal error|nondeliverable|rejected|\[?bounce\]?)\b.{0,40}(?:deliver|could not send|mail|message|not sent)|(?:could|can) ?(?:no|n.)t (?:be )?(?:deliver|send)|could not send|your message .{0,40}(?:not|couldn.t|could not|blocked|rejected|wasn.t) ?(?:be )?(?:deliver|sent)?|user unknown|no such user|"
    r"(?:permanent|temporary|transient|final) (?:mail |message |e-?mail )?(?:delivery|failure|error|fail)|(?:e-?mail|mail|message|post) (?:was |has been |is )?(?:rejected|refused|blocked|bounced|undelivered|not delivered)|"
    r"(?:blocked|bounced|unsent|undelivered) (?:e-?mail|mail|message)|(?:unknown|invalid|bad) (?:user|recipient|e-?mail address|mailbox)|(?:address|recipient|mailbox|user|inbox)(?: inbox)? (?:not found|unknown|full|is full|unavailable|rejected|invalid|disabled)|"
    r"delivery (?:incomplete|delay|to \S+ (?:failed|delayed))|nd[rn]\s*[:\]]|your (?:e-?mail|mail|post) .{0,60}(?:bounced|not (?:be )?deliver|couldn.t be deliver|rejected)|there was an error sending|"
    + "|".join(_ABROAD)
    + ")",
    re.I,
)

_TEXT_ABROAD: Final = (
    "(?:konnte|kann)[^.]{0,60} nicht (?:zu|aus)gestellt", "nicht zustellbar", "unbekannter empf", "empfänger.{0,40}(?:unbekannt|nicht gefunden|existiert nicht)", "kon(?:den)? niet worden (?:bezorgd|afgeleverd)", "niet bezorgd",
    "n.(?:a|ont) (?:pas )?pu être (?:remis|envoy|distribu)", "destinataire.{0,40}(?:inconnu|introuvable)", "impossibile (?:consegnare|recapitare)", "non è stato (?:possibile )?(?:recapitat|consegn)", "destinatario.{0,40}(?:sconosciuto|desconocido)",
    "no se (?:ha podido|pudo|puede) entregar", "no (?:pudo|ha podido) (?:ser )?entreg", "não (?:pôde|foi) (?:ser )?(?:possível )?entreg", "(?:kunde|kan) inte (?:levereras|nås)", "(?:kunne|kan) ikke (?:leveres|leverer)", "ei voitu toimittaa",
    "не (?:может быть|был[оа]?|удалось) достав", "пользовател.{0,30}не найден", "nie (?:mogła|można|została|udało się).{0,20}dostarcz", "(?:nelze|nebylo možné|nemohla být) doruč", "nem (?:sikerült|lehetett|lehet) kézbes", "teslim edile?medi", "δεν (?:ήταν δυνατή|μπόρεσε)",
    "送信できません", "(?:配信|配達)(?:できません|不能|に失敗|されません)", "届きません", "宛先(?:不明|が)", "ユーザー?が(?:存在|見つ)", "メールアドレス.{0,20}(?:存在し|見つかり|無効)", "无法(?:投递|送达)", "無法(?:傳遞|投遞|送達)", "(?:用户|收件人|信箱|邮箱).{0,60}(?:不存在|已满|无效)",
    "(?:전달|배달|전송)(?:되지|하지) (?:않|못)", "존재하지 않는",
)  # fmt: skip
BOUNCE_TEXT: Final = re.compile(
    r"reporting-mta:|final-recipient:|diagnostic-code:|original-recipient:|\b[45]\d\d[ -][45]\.\d\.\d|\b55[0-4][ -:]|\b45[0-2][ -]|user (?:is )?unknown|(?:mailbox|address|recipient|user|account) (?:is )?(?:unavailable|not found|does(?: not|n.t) exist|full|disabled|rejected|unknown|over quota|not listed)|"
    r"(?:could|can|was)(?: ?not|n.t| not be| never) (?:be )?(?:deliver|sent|send|reach)|(?:un(?:able|successful)|fail(?:ed|ure)?) (?:to|in) (?:deliver|send|reach|relay)|permanent (?:fatal )?error|delivery (?:to|of) .{0,120}(?:fail|delay|abort)|(?:did|has|have) not (?:been|reach)|quota exceeded|no such (?:user|recipient|mailbox|address)|"
    r"undeliver|returned (?:mail|message|to (?:the )?sender)|this message was created automatically by mail|message (?:has been )?(?:rejected|refused|blocked|returned)|transcript of session follows|i.m afraid i wasn.t able|relay(?:ing)? denied|transmission error|host (?:not found|unknown)|invalid (?:recipient|address|mailbox)|not delivered|delivery (?:failed|error|failure)|"
    r"(?:could|can|was)(?: ?not|n.t) be (?:completed|processed|accepted|delivered)|rejected (?:by|for|because|due)|(?:is|are) not (?:a )?(?:valid|known|recogni[sz]ed) (?:recipient|address|user|mailbox|member)|no (?:such|valid) (?:account|recipients?|domain|person)|mailbox (?:size )?limit|over (?:its |their )?quota|"
    r"does not (?:exist|accept)|not a member|blocked (?:by|because|for)|temporarily deferred|delivery attempts?|message (?:is |was )?too (?:large|big)|size exceeds|delayed|bounced|"
    + "|".join(_TEXT_ABROAD),
    re.I,
)
