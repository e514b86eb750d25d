"""The cast: a sales team, its customers, prospects, leads and blocklist, and the CRM file that holds them. All invented."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import io

TEAM_ID = "tarnbrook"
TEAM_NAME = "Tarnbrook Sensors"
OWN = "tarnbrook.example"
OWN_ALIAS = "tarnbrook-sensors.example"
DEAL_ID = "o-meridian-dock"

CRM_FIELDS = (
    "kind", "id", "name", "address", "domain", "account_id", "company", "owner", "is_open", "opened_on", "closed_on", "user_id",
    "pattern",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Person:
    """Somebody who writes: `client` is the mail program, `zone` the offset from UTC in hours, `sign` the signature's lines.

    `crm_id` names the contact or lead; "" for people the CRM does not know. `charset` and `cte` are the program's habits.
    """

    name: str
    address: str
    client: str = "gmail"
    zone: float = 0
    lang: str = "en"
    sign: tuple[str, ...] = ()
    charset: str = "utf-8"
    cte: str = "quoted-printable"
    shape: str = "alternative"
    crm_id: str = ""
    account: str = ""

    @property
    def first(self) -> str:
        """The name to greet with."""
        return self.name.split()[0]

    @property
    def box(self) -> tuple[str, str]:
        """Display name and address."""
        return self.name, self.address


def _own(name: str, local: str, zone: float, lang: str = "en", role: str = "Account Executive") -> Person:
    return Person(
        name, f"{local}@{OWN}", "gmail", zone, lang, (name, f"{role}, {TEAM_NAME}", "We watch the cold chain so that you can sleep.")
    )  # fmt: skip


DANA = _own("Dana Whitlock", "dana.whitlock", 0)
MATTEO = _own("Matteo Keller", "matteo.keller", 1, "de")
YUKI = _own("Yuki Tanabe", "yuki.tanabe", 9, "ja")
LEILA = _own("Leila Haddad", "leila.haddad", 1, "fr")
TOMASZ = _own("Tomasz Wrona", "tomasz.wrona", 1, "pl", "Junior Account Executive")
USERS = (DANA, MATTEO, YUKI, LEILA, TOMASZ)
MAILBOXES = tuple(user.address for user in USERS)
OREN = _own("Oren Bell", "oren.bell", 0, role="Head of Sales")
PRIYA = Person("Priya Nair", "priya@nair-consulting.example", "apple", 5.5, sign=("Priya",))

USER_IDS = {
    DANA: "u-dana", MATTEO: "u-matteo", YUKI: "u-yuki", LEILA: "u-leila", TOMASZ: "u-tomasz", OREN: "u-oren", PRIYA: "u-priya"
}  # fmt: skip

MERIDIAN = "a-meridian"
ACCOUNTS: dict[str, tuple[str, tuple[str, ...]]] = {
    MERIDIAN: ("Meridian Foods", ("meridianfoods.example", "meridian-logistics.example")),
    "a-halden": ("Haldenprint AG", ("haldenprint.example",)),
    "a-saintclair": ("Verrerie Saint-Clair", ("saintclair-verre.example",)),
    "a-kisaragi": ("Kisaragi Seimitsu", ("kisaragi-seimitsu.example",)),
    "a-bursztyn": ("Bursztyn Logistyka", ("bursztyn-logistyka.example",)),
    "a-alnoor": ("Al Noor Pharma", ("alnoor-pharma.example",)),
    "a-northgate": ("Northgate Cold Storage", ("northgate-cold.example",)),
    "a-sokol": ("Sokol Pribor", ("sokol-pribor.example",)),
    "a-tavor": ("Tavor Agritech", ("tavor-agritech.example",)),
    "a-kestrel": ("Kestrel Breweries", ("kestrelbrew.example",)),
    "a-ostermann": ("Ostermann Kühllogistik", ("ostermann-kuehl.example",)),
    "a-petal": ("Pine & Petal Nursery", ("gmail.com",)),
}
"""Account id to name and domains. Pine & Petal's website field says gmail.com, as it happens: it must never match as a domain."""

GRACE = Person(
    "Grace Okonjo",
    "grace.okonjo@meridianfoods.example",
    "outlook",
    0,
    "en",
    ("Grace Okonjo", "Supply Chain Director", "Meridian Foods"),
    "windows-1252",
    crm_id="c-grace",
    account=MERIDIAN,
)
BEN = Person(
    "Ben Ashdown", "ben.ashdown@meridianfoods.example", "apple", 0, "en", ("Ben",), crm_id="c-ben", account=MERIDIAN
)
SUNITA = Person(
    "Sunita Rao",
    "s.rao@meridian-logistics.example",
    "outlook",
    0,
    "en",
    ("Sunita Rao", "Meridian Logistics"),
    crm_id="c-sunita",
    account=MERIDIAN,
)
URS = Person(
    "Urs Zimmerli",
    "urs.zimmerli@haldenprint.example",
    "outlook",
    1,
    "de",
    ("Urs Zimmerli", "Leiter Technik", "Haldenprint AG"),
    "iso-8859-1",
    crm_id="c-urs",
    account="a-halden",
)
PETRA = Person(
    "Petra Vögeli",
    "support@haldenprint.example",
    "thunderbird",
    1,
    "de",
    ("Petra Vögeli", "Haldenprint AG"),
    "utf-8",
    "8bit",
    "flowed",
    crm_id="c-petra",
    account="a-halden",
)
GISELA = Person(
    "Gisela Brandt",
    "gisela.brandt@haldenprint.example",
    "outlook",
    1,
    "de",
    ("Gisela Brandt",),
    crm_id="c-gisela",
    account="a-halden",
)
HELENE = Person(
    "Hélène Marchand",
    "helene.marchand@saintclair-verre.example",
    "apple",
    1,
    "fr",
    ("Hélène Marchand", "Directrice des achats"),
    "utf-8",
    crm_id="c-helene",
    account="a-saintclair",
)
BAPTISTE = Person(
    "Baptiste Lenoir",
    "b.lenoir@saintclair-verre.example",
    "thunderbird",
    1,
    "fr",
    ("Baptiste",),
    "iso-8859-1",
    "8bit",
    "plain",
    crm_id="c-baptiste",
    account="a-saintclair",
)
HARUTO = Person(
    "如月 陽斗",
    "haruto@kisaragi-seimitsu.example",
    "plain",
    9,
    "ja",
    ("如月精密株式会社", "品質保証部 如月 陽斗"),
    "iso-2022-jp",
    "7bit",
    "plain",
    crm_id="c-haruto",
    account="a-kisaragi",
)
MIO = Person(
    "青葉 澪",
    "mio.aoba@kisaragi-seimitsu.example",
    "gmail",
    9,
    "ja",
    ("青葉",),
    "utf-8",
    "base64",
    crm_id="c-mio",
    account="a-kisaragi",
)
ZOFIA = Person(
    "Zofia Gąsiorek",
    "zofia.gasiorek@bursztyn-logistyka.example",
    "thunderbird",
    1,
    "pl",
    ("Zofia Gąsiorek", "Dział zakupów"),
    "utf-8",
    "8bit",
    "flowed",
    crm_id="c-zofia",
    account="a-bursztyn",
)
KAMIL = Person(
    "Kamil Dąb",
    "kamil.dab@bursztyn-logistyka.example",
    "outlook",
    1,
    "pl",
    ("Kamil Dąb",),
    "utf-8",
    "base64",
    crm_id="c-kamil",
    account="a-bursztyn",
)
SAMIR = Person(
    "سمير الراشد",
    "samir.alrashed@alnoor-pharma.example",
    "outlook",
    3,
    "ar",
    ("سمير الراشد", "مدير سلسلة التبريد"),
    "utf-8",
    "base64",
    crm_id="c-samir",
    account="a-alnoor",
)
NADIA = Person(
    "Nadia Farouk",
    "nadia.farouk@alnoor-pharma.example",
    "gmail",
    3,
    "en",
    ("Nadia Farouk", "Al Noor Pharma"),
    crm_id="c-nadia",
    account="a-alnoor",
)
ROWAN = Person(
    "Rowan Tulley",
    "rowan@northgate-cold.example",
    "outlook",
    0,
    "en",
    ("Rowan Tulley", "Site Manager, Northgate Cold Storage"),
    crm_id="c-rowan",
    account="a-northgate",
)
MAEVE = Person(
    "Maeve Corrigan",
    "maeve.corrigan@northgate-cold.example",
    "apple",
    0,
    "en",
    ("Maeve",),
    crm_id="c-maeve",
    account="a-northgate",
)
LEV = Person(
    "Лев Соколов",
    "lev@sokol-pribor.example",
    "thunderbird",
    3,
    "ru",
    ("Лев Соколов", "Сокол Прибор"),
    "koi8-r",
    "8bit",
    "plain",
    crm_id="c-lev",
    account="a-sokol",
)
NOA = Person(
    "נועה תבור",
    "noa@tavor-agritech.example",
    "gmail",
    2,
    "he",
    ("נועה",),
    "utf-8",
    "base64",
    crm_id="c-noa",
    account="a-tavor",
)
FINLAY = Person(
    "Finlay Grier",
    "finlay@kestrelbrew.example",
    "gmail",
    0,
    "en",
    ("Finlay", "Kestrel Breweries"),
    crm_id="c-finlay",
    account="a-kestrel",
)
ANNIKA = Person(
    "Annika Ostermann",
    "annika@ostermann-kuehl.example",
    "outlook",
    1,
    "de",
    ("Annika Ostermann", "Geschäftsführung"),
    "windows-1252",
    crm_id="c-annika",
    account="a-ostermann",
)
ROSALIND = Person(
    "Rosalind Pine",
    "pine.petal.nursery.invented@gmail.com",
    "gmail",
    0,
    "en",
    ("Rosalind",),
    crm_id="c-rosalind",
    account="a-petal",
)
CONTACTS = (
    GRACE,
    BEN,
    SUNITA,
    URS,
    PETRA,
    GISELA,
    HELENE,
    BAPTISTE,
    HARUTO,
    MIO,
    ZOFIA,
    KAMIL,
    SAMIR,
    NADIA,
    ROWAN,
    MAEVE,
    LEV,
    NOA,
    FINLAY,
    ANNIKA,
    ROSALIND,
)

INGRID = Person(
    "Ingrid Solheim",
    "ingrid.solheim@fjordbakeri.example",
    "outlook",
    1,
    "en",
    ("Ingrid Solheim", "Fjord Bakeri"),
    crm_id="l-ingrid",
)
JONAS = Person("Jonas Okafor", "jonas.okafor.invented@gmail.com", "gmail", 0, "en", ("Jonas",), crm_id="l-jonas")
LEADS = ((INGRID, "Fjord Bakeri"), (JONAS, "Okafor Ice Cream"))

OPHELIA = Person(
    "Ophelia Quill", "o.quill@quillfeather-law.example", "outlook", 0, "en", ("Ophelia Quill", "Quill Feather LLP")
)
"""A lawyer whose domain the team has blocked."""

LOOKBACK_DAYS: dict[str, int] = {
    DANA.address: 86, MATTEO.address: 75, YUKI.address: 60, LEILA.address: 90, TOMASZ.address: 7
}  # fmt: skip
"""Days before now that each mailbox is read from: its user's oldest open opportunity, or a week (Tomasz has none)."""

OPPORTUNITIES: tuple[tuple[str, str, str, str, bool, int, int | None], ...] = (
    (DEAL_ID, "Meridian Foods: dock door monitoring", MERIDIAN, "u-dana", True, 86, None),
    ("o-meridian-fleet", "Meridian Logistics: fleet loggers", MERIDIAN, "u-dana", True, 41, None),
    ("o-kestrel-cellar", "Kestrel Breweries: cellar pilot", "a-kestrel", "u-dana", False, 140, 100),
    ("o-halden-press", "Haldenprint: press hall humidity", "a-halden", MATTEO.address, True, 75, None),
    ("o-ostermann-hub", "Ostermann: hub Kassel", "a-ostermann", MATTEO.address, True, 33, None),
    ("o-kisaragi-clean", "Kisaragi: clean room retrofit", "a-kisaragi", "u-yuki", True, 60, None),
    ("o-saintclair-four", "Saint-Clair: fours 2 et 3", "a-saintclair", "u-leila", True, 90, None),
    ("o-alnoor-vaccine", "Al Noor: vaccine store", "a-alnoor", "u-leila", True, 52, None),
    ("o-alnoor-old", "Al Noor: first pilot", "a-alnoor", "u-leila", False, 240, 170),
    ("o-bursztyn-won", "Bursztyn: magazyn Gdynia", "a-bursztyn", "u-tomasz", False, 80, 20),
)
"""Id, name, account, owner (a user's id or address), open, days since it was opened, days since it was closed."""

BLOCKED_DOMAIN = "quillfeather-law.example"
BLOCKED_FOR_MATTEO = GISELA.address


def crm_csv(now: dt.datetime) -> str:
    """The team's CRM at `now` (aware) as the one CSV file that `dealmail crm import` reads."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CRM_FIELDS, restval="", lineterminator="\n")
    writer.writeheader()

    def day(ago: int | None) -> str:
        return "" if ago is None else (now.astimezone(dt.UTC) - dt.timedelta(days=ago)).date().isoformat()

    rows: list[dict[str, str]] = []
    for user, user_id in USER_IDS.items():
        rows.append({"kind": "user", "id": user_id, "name": user.name, "address": user.address})
    rows += [
        {"kind": "user_address", "user_id": "u-dana", "address": f"dana@{OWN_ALIAS}"},
        {"kind": "user_address", "user_id": "u-oren", "address": "oren.bell.invented@gmail.com"},
        {"kind": "own_domain", "domain": OWN},
        {"kind": "own_domain", "domain": OWN_ALIAS},
    ]
    for account_id, (name, domains) in ACCOUNTS.items():
        rows.append({"kind": "account", "id": account_id, "name": name})
        rows += [{"kind": "account_domain", "account_id": account_id, "domain": domain} for domain in domains]
    rows += [
        {"kind": "contact", "id": p.crm_id, "name": p.name, "address": p.address, "account_id": p.account}
        for p in CONTACTS
    ]
    rows += [
        {"kind": "lead", "id": p.crm_id, "name": p.name, "address": p.address, "company": company}
        for p, company in LEADS
    ]
    for key, name, account_id, owner, is_open, opened, closed in OPPORTUNITIES:
        rows.append({
            "kind": "opportunity", "id": key, "name": name, "account_id": account_id, "owner": owner,
            "is_open": "true" if is_open else "false", "opened_on": day(opened), "closed_on": day(closed),
        })  # fmt: skip
    rows += [
        {"kind": "blocked", "pattern": BLOCKED_DOMAIN},
        {"kind": "blocked", "pattern": BLOCKED_FOR_MATTEO, "user_id": "u-matteo"},
    ]
    writer.writerows(rows)
    return out.getvalue()
