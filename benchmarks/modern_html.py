"""HTML bodies of the four makes that a business mailbox is full of, with generated words: webmail, Outlook, Apple Mail, campaigns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.modern_mail import Writer


def page(write: Writer, text: str) -> str:
    """`text` (paragraphs between blank lines) as a mail of a make drawn by weight: 35, 30, 10 and 25 %."""
    (make,) = write.rng.choices((webmail, outlook, apple, campaign), (35, 30, 10, 25))
    return make(write, text)


def _paragraphs(text: str) -> Iterator[str]:
    return (one.replace("&", "&amp;").replace("<", "&lt;").replace("\r\n", "<br>") for one in text.split("\r\n\r\n"))


def webmail(write: Writer, text: str) -> str:
    """A reply from webmail: a div for every line, the talk so far in nested blockquotes, deeper the longer it went."""
    body = "".join(f"<div>{one}</div><div><br></div>" for one in _paragraphs(text))
    history = ""
    for depth in range(write.rng.randint(2, 7)):
        lines = "".join(
            f'<div><span style="font-size:13px;color:rgb(34,34,34)">{write.phrase(8, 20)}</span> <b>{write.phrase()}</b></div><div><br></div>'
            for _ in range(write.rng.randint(3, 12))
        )
        history = (
            f'<div class="gmail_quote gmail_quote_container"><div dir="ltr" class="gmail_attr">On Mon, Oct {depth + 1}, 2026 at 9:1{depth} AM '
            'Anna Abel &lt;<a href="mailto:anna@customer.example" target="_blank">anna@customer.example</a>&gt; wrote:<br></div><blockquote '
            'class="gmail_quote" style="margin:0px 0px 0px 0.8ex;border-left:1px solid rgb(204,204,204);padding-left:1ex">'
            f'<div dir="ltr">{lines}</div>{history}</blockquote></div>'
        )
    return f'<div dir="ltr">{body}</div><br>{history}'


_FACES = ["Wingdings", "Cambria Math", "Calibri", "Aptos", "Segoe UI", "Verdana"]
_WORD_STYLE = (
    "".join(f'@font-face\r\n\t{{font-family:"{face}";\r\n\tpanose-1:2 4 5 3 5 4 6 3 2 4;}}\r\n' for face in _FACES)
    + 'p.MsoNormal, li.MsoNormal, div.MsoNormal\r\n\t{margin:0cm;\r\n\tfont-size:11.0pt;\r\n\tfont-family:"Calibri",sans-serif;\r\n\t'
    "mso-ligatures:standardcontextual;\r\n\tmso-fareast-language:EN-US;}\r\na:link, span.MsoHyperlink\r\n\t{mso-style-priority:99;\r\n\t"
    "color:#0563C1;\r\n\ttext-decoration:underline;}\r\n"
    + "".join(
        f'span.EmailStyle{number}\r\n\t{{mso-style-type:personal-reply;\r\n\tfont-family:"Calibri",sans-serif;\r\n\tcolor:windowtext;}}\r\n'
        for number in range(17, 23)
    )
    + "@page WordSection1\r\n\t{size:612.0pt 792.0pt;\r\n\tmargin:70.85pt 70.85pt 2.0cm 70.85pt;}\r\ndiv.WordSection1\r\n\t{page:WordSection1;}\r\n"
)


def outlook(write: Writer, text: str) -> str:
    """Word's HTML: a style sheet, a class and a span for every line, a signature table, earlier mail under header blocks."""
    span = '<span lang="EN-US" style="font-size:11.0pt;font-family:&quot;Calibri&quot;,sans-serif;color:#1F497D;mso-fareast-language:EN-US">'
    blank = f'<p class="MsoNormal">{span}<o:p>&nbsp;</o:p></span></p>\r\n'

    def lines(texts: Iterator[str]) -> str:
        return "".join(f'<p class="MsoNormal">{span}{one}<o:p></o:p></span></p>\r\n{blank}' for one in texts)

    cell = '<td width="260" valign="top" style="width:195.0pt;border:none;padding:0cm 5.4pt 0cm 5.4pt"><p class="MsoNormal">'
    signature = (
        '<table class="MsoNormalTable" border="0" cellspacing="0" cellpadding="0" style="border-collapse:collapse"><tr>'
        f"{cell}<b>{span}{write.phrase(2, 2)}</span></b><o:p></o:p></p></td>{cell}{span}{write.phrase(2, 4)}</span><o:p></o:p></p></td></tr>"
        f'<tr>{cell}<a href="https://www.company.example/"><span style="color:#0563C1">www.company.example</span></a><o:p></o:p></p></td>{cell}'
        f'<img width="96" height="32" src="cid:image001.png@01DB{write.rng.getrandbits(32):08X}" alt="logo"><o:p></o:p></p></td></tr></table>\r\n'
    )
    older = ""
    for _ in range(write.rng.randint(1, 4)):
        older += (
            '<div><div style="border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0cm 0cm 0cm"><p class="MsoNormal"><b><span lang="EN-US">'
            'From:</span></b><span lang="EN-US"> Anna Abel &lt;anna@customer.example&gt; <br><b>Sent:</b> Monday, 5 October 2026 09:12<br>'
            "<b>To:</b> Me &lt;me@mycorp.example&gt;<br><b>Subject:</b> Offer<o:p></o:p></span></p></div></div>\r\n"
            f"{blank}{lines(write.phrase(10, 40) for _ in range(write.rng.randint(4, 14)))}{signature}"
        )
    return (
        '<html xmlns:v="urn:schemas-microsoft-com:vml" xmlns:o="urn:schemas-microsoft-com:office:office" '
        'xmlns:w="urn:schemas-microsoft-com:office:word" xmlns="http://www.w3.org/TR/REC-html40">\r\n<head>\r\n<meta http-equiv="Content-Type" '
        f'content="text/html; charset=utf-8">\r\n<meta name="Generator" content="Microsoft Word 15 (filtered medium)">\r\n<style><!--\r\n{_WORD_STYLE}'
        '--></style><!--[if gte mso 9]><xml>\r\n<o:shapedefaults v:ext="edit" spidmax="1026" />\r\n</xml><![endif]-->\r\n</head>\r\n'
        '<body lang="EN-GB" link="#0563C1" vlink="#954F72" style="word-wrap:break-word">\r\n<div class="WordSection1">\r\n'
        f"{lines(_paragraphs(text))}{signature}{older}</div>\r\n</body>\r\n</html>\r\n"
    )


def apple(write: Writer, text: str) -> str:
    """A reply from Apple Mail: divs, and one or two marked blockquotes."""
    style = (
        "caret-color: rgb(0, 0, 0); font-family: Helvetica; font-size: 12px; font-style: normal; text-decoration: none;"
    )
    body = "".join(f"<div>{one}</div><div><br></div>" for one in _paragraphs(text))
    history = ""
    for _ in range(write.rng.randint(1, 3)):
        lines = "".join(
            f'<div style="{style}">{write.phrase(10, 30)}</div><br class="Apple-interchange-newline">'
            for _ in range(write.rng.randint(5, 15))
        )
        history = (
            '<div><br><blockquote type="cite"><div>On 5. Oct 2026, at 09:12, Anna Abel &lt;anna@customer.example&gt; wrote:</div>'
            f'<br class="Apple-interchange-newline"><div>{lines}{history}</div></blockquote></div>'
        )
    return (
        '<html><head><meta http-equiv="content-type" content="text/html; charset=utf-8"></head><body style="overflow-wrap: break-word; '
        f'-webkit-nbsp-mode: space; line-break: after-white-space;">{body}{history}</body></html>'
    )


_CAMPAIGN_STYLE = (
    "#outlook a { padding:0; }\n body { margin:0;padding:0;-webkit-text-size-adjust:100%;-ms-text-size-adjust:100%; }\n table, td { "
    "border-collapse:collapse;mso-table-lspace:0pt;mso-table-rspace:0pt; }\n img { border:0;height:auto;line-height:100%; outline:none;"
    "text-decoration:none;-ms-interpolation-mode:bicubic; }\n p { display:block;margin:13px 0; }\n"
    + "".join(
        f"@media only screen and (min-width:480px) {{ .column-{width} {{ width:{width}% !important; max-width: {width}%; }} }}\n"
        for width in (20, 25, 33, 50, 66, 75, 100)
    )
    + "@media only screen and (max-width:479px) { table.full-width { width: 100% !important; } td.full-width { width: auto !important; } }\n"
)


def campaign(write: Writer, text: str) -> str:
    """A newsletter as generators write it: tables within tables, inline styles, tracked links, a hidden preheader, a pixel."""
    table = (
        '<table border="0" cellpadding="0" cellspacing="0" role="presentation" style="width:100%;" width="100%"><tbody>'
    )
    font = "font-family:Helvetica, Arial, sans-serif;font-size:14px;font-weight:400;line-height:22px;text-align:left;color:#333333;"
    button = (
        "display:inline-block;background:#414141;color:#ffffff;font-family:Helvetica, Arial, sans-serif;font-size:13px;line-height:120%;"
        "margin:0;text-decoration:none;padding:10px 25px;border-radius:3px;"
    )
    rows = "".join(
        '<!--[if mso | IE]><table align="center" border="0" cellpadding="0" cellspacing="0" style="width:600px;" width="600"><tr><td '
        'style="line-height:0px;font-size:0px;"><![endif]-->\n<div style="margin:0px auto;max-width:600px;background-color:#ffffff;">'
        f'{table}<tr><td style="direction:ltr;font-size:0px;padding:20px 0;text-align:center;">\n<div class="column-100" style="font-size:0px;'
        f'text-align:left;direction:ltr;display:inline-block;vertical-align:top;width:100%;">{table}<tr><td align="left" style="font-size:0px;'
        f'padding:10px 25px;word-break:break-word;"><div style="{font}"><b>{write.phrase()}</b><br>{one}</div></td></tr>\n<tr><td align="center" '
        f'style="font-size:0px;padding:10px 25px;"><a href="https://click.company.example/u/{write.blob(180).replace("/", "x")}" style="{button}" '
        f'target="_blank">{write.phrase(2, 4)}</a></td></tr>\n<tr><td style="width:550px;"><img alt="" height="auto" src="https://images.company.'
        f'example/{write.blob(24).replace("/", "x")}.png" style="border:0;display:block;outline:none;height:auto;width:100%;font-size:13px;" '
        'width="550"></td></tr></tbody></table></div></td></tr></tbody></table></div>\n<!--[if mso | IE]></td></tr></table><![endif]-->\n'
        for one in (*_paragraphs(text), *(write.phrase(12, 40) for _ in range(write.rng.randint(5, 17))))
    )
    return (
        '<!doctype html>\n<html lang="en"><head><title>News</title><meta http-equiv="Content-Type" content="text/html; charset=UTF-8"><meta '
        f'name="viewport" content="width=device-width, initial-scale=1"><style type="text/css">{_CAMPAIGN_STYLE}</style></head>\n<body '
        'style="word-spacing:normal;background-color:#f4f4f4;"><div style="display:none;font-size:1px;color:#ffffff;line-height:1px;'
        f'max-height:0px;max-width:0px;opacity:0;overflow:hidden;">{write.phrase(8, 14)}{"&#847;&zwnj;&nbsp;" * 40}</div>\n<div '
        f'style="background-color:#f4f4f4;">{rows}<div style="{font}">You get this because you are a customer. <a href="https://click.company.'
        f'example/s/{write.blob(120).replace("/", "x")}" style="color:#414141;">Unsubscribe</a></div></div><img src="https://click.company.example/o/'
        f'{write.blob(60).replace("/", "x")}" width="1" height="1" alt=""></body></html>'
    )
