"""The customer talks in German, French, Japanese, Polish, Arabic, Hebrew and Russian, each in its usual charsets."""

from __future__ import annotations

from .cast import (
    ANNIKA,
    BAPTISTE,
    DANA,
    HARUTO,
    HELENE,
    KAMIL,
    LEILA,
    LEV,
    MATTEO,
    MIO,
    NOA,
    OREN,
    PETRA,
    SAMIR,
    TOMASZ,
    URS,
    YUKI,
    ZOFIA,
    Person,
)
from .desk import Desk
from .threads import converse

Talk = tuple[str, str, float, tuple[Person, ...], tuple[tuple[Person, str], ...]]

TALKS: tuple[Talk, ...] = (
    ("halden-feuchte", "Luftfeuchte in der Druckhalle", 70, (URS, MATTEO, PETRA), (
        (MATTEO, "Guten Tag Herr Zimmerli,\n\nwie besprochen habe ich die Messwerte der ersten Woche zusammengestellt. Zwischen Schicht 2 und 3 fällt die Feuchte um fast zwölf Prozent, immer wenn das Rolltor offen steht.\n\nDarf ich Ihnen einen Vorschlag für zwei weitere Fühler machen?\n\nFreundliche Grüsse\nMatteo Keller"),
        (URS, "Grüezi Herr Keller\n\nDas erklärt die welligen Bögen! Bitte schicken Sie den Vorschlag, am besten mit Montageplan. Über der Linie 4 hängt ein Kran, da kommen wir nur sonntags hin.\n\nGruss\nUrs Zimmerli"),
        (MATTEO, "Vielen Dank für die schnelle Antwort.\n\nDer Plan liegt bei: zwei Fühler an den Säulen 12 und 14, beide ohne den Kran erreichbar. Montage an einem Vormittag, auch unter der Woche."),
        (URS, "Perfekt, dann unter der Woche. Frau Vögeli koordiniert den Termin, sie liest hier mit."),
        (PETRA, "Hallo Herr Keller,\n\nmir wäre Donnerstag um acht Uhr am liebsten. Bitte melden Sie sich am Empfang, Sie brauchen Sicherheitsschuhe und einen Ausweis.\n\nViele Grüße\nPetra Vögeli"),
    )),
    ("halden-rechnung", "Rückfrage zur Schlussrechnung", 40, (PETRA, MATTEO), (
        (PETRA, "Hallo Herr Keller,\n\nin der Schlussrechnung stehen drei Fühler, geliefert wurden zwei. Können Sie das bitte prüfen, bevor ich sie freigebe?\n\nViele Grüße"),
        (MATTEO, "Hallo Frau Vögeli,\n\nSie haben recht, das war unser Fehler. Der dritte war ein Leihgerät, das wir schon wieder abgeholt haben. Die berichtigte Rechnung kommt heute noch.\n\nEntschuldigen Sie die Mühe!"),
        (PETRA, "Ist angekommen und freigegeben. Danke für die Erledigung am selben Tag, das erlebe ich selten."),
    )),
    ("ostermann-hub", "Ausschreibung Umschlaghalle Kassel", 33, (ANNIKA, MATTEO, OREN), (
        (ANNIKA, "Sehr geehrter Herr Keller,\n\nfür unsere neue Umschlaghalle in Kassel (38 Tore, drei Temperaturzonen) suchen wir eine Überwachung, die auch kurze Türöffnungen erfasst. Budget rund 60.000 €. Möchten Sie anbieten?\n\nMit freundlichen Grüßen\nAnnika Ostermann"),
        (MATTEO, "Sehr geehrte Frau Ostermann,\n\nsehr gern. Damit das Angebot passt, drei Fragen:\n\n- Wie oft öffnet ein Tor am Tag?\n- Gibt es Strom an den Torrahmen?\n- Wer bekommt nachts den Alarm?\n\nMit freundlichen Grüßen\nMatteo Keller"),
        (ANNIKA, "Etwa 90 Mal; ja, überall; der Pförtner, und nach zehn Minuten ich selbst."),
        (MATTEO, "Danke, damit lässt sich arbeiten. Das Angebot liegt bei: 38 Torfühler, sechs Gateways, 58.400 € einschließlich Einweisung des Pförtners."),
        (ANNIKA, "Die Unterlagen sind vollständig und übersichtlich. Wir entscheiden Ende des Monats; Sie sind unter den letzten beiden.\n\nA. Ostermann"),
    )),
    ("ostermann-nachtrag", "Nachtrag: Tor 39", 6.3, (ANNIKA, MATTEO), (
        (ANNIKA, "Guten Morgen Herr Keller,\n\nder Architekt hat noch ein Tor gefunden. Können Sie das neununddreißigste in das Angebot aufnehmen?"),
        (MATTEO, "Guten Morgen Frau Ostermann,\n\ndas neununddreißigste Tor schenken wir Ihnen. Ein Blatt zum Austauschen liegt bei."),
        (ANNIKA, "Das nenne ich ein Argument. Schöne Grüße!"),
    )),
    ("saintclair-fours", "Capteurs pour les fours 2 et 3", 84, (HELENE, LEILA, BAPTISTE), (
        (LEILA, "Bonjour Hélène,\n\nsuite à notre visite, voici ce que je vous propose pour les fours 2 et 3 : quatre sondes par four, reliées à une seule passerelle. Le délai est de trois semaines.\n\nBien à vous,\nLeïla"),
        (HELENE, "Bonjour Leïla,\n\nmerci pour votre passage à l'atelier. Quatre sondes me paraissent beaucoup ; Baptiste pense que trois suffiraient. Qu'en dites-vous ?\n\nBien cordialement"),
        (BAPTISTE, "Bonjour à toutes les deux,\n\nprès de la gueule du four, la sonde ne tiendrait pas six mois. D'où mon idée : trois sondes, et une de rechange à l'étagère.\n\nBaptiste"),
        (LEILA, "Baptiste a raison, et cela vous coûte moins cher. Je corrige l'offre : trois sondes par four, une de rechange en tout, soit 5 870 € hors taxes."),
        (HELENE, "C'est accepté. Vous recevrez la commande avant vendredi.\n\nHélène"),
    )),
    ("saintclair-panne", "Alarme de cette nuit", 22, (BAPTISTE, LEILA, OREN), (
        (BAPTISTE, "Bonjour Leïla,\n\nl'alarme a sonné à 3 h 12 alors que le four était à l'arrêt. L'équipe de nuit n'a pas apprécié. Avez-vous une idée ?"),
        (LEILA, "Bonjour Baptiste,\n\ndésolée pour l'équipe de nuit ! L'horloge de la passerelle est passée à l'heure d'hiver, pas la vôtre : elle croyait le four en marche. C'est corrigé à distance.\n\nDites-moi si cela se reproduit."),
        (BAPTISTE, "Deux nuits sans réveil, je considère que c'est réglé. Merci pour votre réactivité."),
    )),
    ("saintclair-visite", "Visite de l'usine de Brière", 12, (HELENE, LEILA), (
        (HELENE, "Bonjour Leïla,\n\nnotre nouvelle usine de Brière ouvre au printemps. Voulez-vous venir voir les lieux avant que les murs soient peints ? Ce serait le moment de passer les câbles."),
        (LEILA, "Avec grand plaisir ! Je peux être là jeudi matin, avec un mètre et des bottes."),
        (HELENE, "Parfait, jeudi à neuf heures. Prenez la seconde sortie du rond-point, la première mène à un champ de betteraves."),
    )),
    ("kisaragi-clean", "クリーンルーム用センサーのお見積り", 54, (HARUTO, YUKI), (
        (YUKI, "如月精密株式会社\n如月様\n\nいつもお世話になっております。Tarnbrook Sensors の田辺です。\n\n先日ご相談いただきましたクリーンルーム用の温湿度センサーについて、お見積りをお送りいたします。台数は十二台、納期は約四週間でございます。\n\nご確認のほどよろしくお願いいたします。"),
        (HARUTO, "田辺様\n\nお世話になっております。如月です。\n\nお見積りありがとうございます。校正証明書は一台ごとに付きますでしょうか。監査で必要になります。\n\nよろしくお願いいたします。"),
        (YUKI, "如月様\n\nはい、一台ごとに校正証明書をお付けいたします。追加の費用はございません。\n\n田辺"),
        (HARUTO, "承知いたしました。それでは注文書を来週お送りいたします。"),
    )),
    ("kisaragi-alarm", "アラームの通知先について", 31, (MIO, YUKI, HARUTO), (
        (MIO, "田辺様\n\n夜間のアラームを当直の携帯にも送りたいのですが、設定はどの画面でできますか。\n\n青葉"),
        (YUKI, "青葉様\n\n「通知」の画面で、時間帯ごとに宛先を追加できます。手順の画像を添付いたします。\n\n田辺"),
        (MIO, "できました。とても分かりやすかったです。ありがとうございます！"),
        (HARUTO, "私にも届きました。昨夜は静かで何よりです。"),
    )),
    ("kisaragi-visit", "来月のご訪問", 13, (HARUTO, YUKI, DANA), (
        (HARUTO, "田辺様\n\n来月の十日に工場へお越しいただけますか。新しい棟の設置場所をご相談したいと存じます。"),
        (YUKI, "如月様\n\n十日の午後二時に伺います。英国から上司のダナも同行いたします。\n\n田辺"),
        (HARUTO, "お二人でのお越しをお待ちしております。"),
    )),
    ("bursztyn-gdynia", "Czujniki do magazynu w Gdyni", 47, (ZOFIA, LEILA, TOMASZ), (
        (ZOFIA, "Dzień dobry,\n\nchcielibyśmy rozszerzyć system w magazynie w Gdyni o kolejne dziesięć czujników. Czy obecna bramka je obsłuży?\n\nPozdrawiam\nZofia Gąsiorek"),
        (LEILA, "Dzień dobry Pani Zofio,\n\njedna bramka obsługuje do sześćdziesięciu czujników, a Państwo mają dziś trzydzieści jeden. Zmieści się więc bez zmian. Szczegóły prześle Tomasz."),
        (ZOFIA, "Świetnie, w takim razie czekam na ofertę. Proszę uwzględnić montaż w weekend."),
    )),
    ("bursztyn-montaz", "Montaż w sobotę", 5.1, (KAMIL, TOMASZ, ZOFIA), (
        (KAMIL, "Cześć Tomek,\n\nczy w sobotę wystarczy wam jedna osoba z kluczami? Ochrona przychodzi dopiero o dziesiątej."),
        (TOMASZ, "Cześć Kamil,\n\njedna osoba wystarczy, będziemy o ósmej. Weźmiemy własną drabinę i kawę.\n\nDo zobaczenia!"),
        (KAMIL, "Kawa najważniejsza. Klucze będzie miał pan Źrebiec, stróż nocny."),
        (ZOFIA, "Dziękuję Panom! Po montażu proszę o protokół z listą numerów seryjnych."),
    )),
    ("alnoor-mustawda", "نظام مراقبة مستودع اللقاحات", 50, (SAMIR, LEILA), (
        (SAMIR, "السيدة ليلى المحترمة،\n\nنشكركم على العرض. نحتاج إلى معرفة مدة الضمان وهل يعمل النظام أثناء انقطاع الكهرباء.\n\nمع التحية"),
        (LEILA, "السيد سمير المحترم،\n\nمدة الضمان ثلاث سنوات، وتعمل البوابة على البطارية ثماني ساعات، أما أجهزة الاستشعار فسنتين.\n\nمع أطيب التحيات\nليلى حداد"),
        (SAMIR, "ممتاز. سنعرض الأمر على الإدارة يوم الأحد ونوافيكم بالنتيجة."),
    )),
    ("tavor-hamama", "חיישנים לחממה הצפונית", 27, (NOA, DANA), (
        (NOA, "שלום דנה,\n\nאנחנו רוצים להוסיף שמונה חיישני לחות בחממה הצפונית. האם אפשר לקבל הצעת מחיר עד סוף השבוע?\n\nתודה"),
        (DANA, "Hello Noa,\n\nof course: eight Veil probes for the northern greenhouse, offer attached. My Hebrew is not up to the technical part, so I hope English is fine.\n\nDana"),
        (NOA, "קיבלתי, תודה רבה! המחיר מתאים לנו. אפשר להזמין."),
    )),
    ("sokol-kalibrovka", "Калибровка датчиков", 51, (LEV, MATTEO), (
        (LEV, "Добрый день, Маттео!\n\nПодскажите, пожалуйста, можно ли калибровать датчики у нас на месте, или их нужно отправлять к вам?\n\nС уважением"),
        (MATTEO, "Guten Tag Herr Sokolov / Hello Lev,\n\nboth are possible: a technician comes to you twice a year, or you send them in rotation and get replacements meanwhile."),
        (LEV, "Спасибо! Удобнее на месте. Пришлите, пожалуйста, расписание на весну."),
    )),
)  # fmt: skip


_AS_HTML = {"halden-rechnung", "saintclair-panne", "bursztyn-gdynia", "bursztyn-montaz"}
"""Talks in which everybody's program is set to write HTML."""


def post(desk: Desk) -> None:
    """Post all talks in other languages than English."""
    for number, (name, subject, days, people, turns) in enumerate(TALKS):
        ordered = sorted(people, key=lambda p: p is turns[0][0], reverse=True)
        shapes: tuple[str, ...] = ("", "mixed") if number % 4 == 0 else ("related",) if number % 5 == 2 else ()
        if name in _AS_HTML:
            shapes = ("alternative",) * len(turns)
        converse(desk, name, subject, days, turns, ordered, shapes=shapes, longest_days=1.0 if days < 8 else 2.5)
