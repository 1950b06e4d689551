"""What the words before a number announce: a telephone, a card, a version, an order.

What belongs here: the words that tell one kind of number from another, and the nearest of them. What does not: the
shape of the numbers themselves (the ``*_validators`` modules).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

from nethical_assets.core.governance.normalise import fold_characters
from nethical_assets.core.governance.words import vocabulary

_LETTERS = re.compile(r"[A-Za-z]+")
_DIGIT = re.compile(r"[0-9]")
_FIELD_END = re.compile(r"[!?;,\n|&{}]|\.\s+(?=[A-Z])")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_LABEL_OBJECT = re.compile(r"(?i)\b(?:for|of)(?: (?:the|a|an|this|your|my|our))?((?: [a-z]+){1,2}) ?[:=]\s*\Z")

_READINGS = 16
_REMEMBERED_WORDS = 1 << 12
_PHRASE_WORDS = 5
_PHRASE_CHARACTERS = 40


@dataclass(frozen=True)
class Announcement:
    """Words that announce what is looked for, and words that announce something else.

    ``phrase`` matches, at the end of what comes before, words that only together announce what is looked for, one of
    ``phrase_words`` among them; ``scripts`` and ``other_scripts`` match words of other scripts there, which need no
    gap before what follows. A word with ``stem`` in it is as good as one of ``wanted``, one that ends like ``ending``
    as one of ``other``. Words of something else in ``beside`` (time, amounts) and ``holders`` (whose number it is: a
    customer, a user) tell only right before a number, the latter not of one that is plainly formatted. With
    ``by_field`` a word of something else counts up to the end of its sentence or field only.
    """

    wanted: frozenset[str]
    other: frozenset[str]
    phrase: re.Pattern[str] | None = None
    phrase_words: frozenset[str] = frozenset()
    scripts: re.Pattern[str] | None = None
    other_scripts: re.Pattern[str] | None = None
    beside: frozenset[str] = frozenset()
    holders: frozenset[str] = frozenset()
    stem: re.Pattern[str] | None = None
    ending: re.Pattern[str] | None = None
    by_field: bool = True

    @functools.cached_property
    def telling(self) -> Callable[[str], bool | None]:
        """``announced`` for these words; the readings of one match ask for the same text again and again."""
        return functools.lru_cache(maxsize=_READINGS)(self._telling)

    def _telling(self, before: str) -> bool | None:
        end = before[-_PHRASE_CHARACTERS:]
        words = list(_LETTERS.finditer(before))
        if self.ends_with_phrase(end, words):
            return True
        if (told := self._told_in_other_scripts(end)) is not None:
            return told
        field_start = _field_start(before)
        if _stands_right_before(before, words, field_start, self._weak):
            return False
        label = _LABEL_OBJECT.search(before)
        passed_over = False
        for match in reversed(words):
            told = self._word_tells(match[0])
            if told:
                return True
            if told is False and (match.start() >= field_start or not self.by_field):
                if label is None or match.start() < label.start():
                    return False
                passed_over = True
        return False if passed_over else None

    @functools.cached_property
    def _weak(self) -> frozenset[str]:
        return self.beside | self.holders

    @functools.cached_property
    def _strong(self) -> frozenset[str]:
        return self.other | self.beside

    @functools.cached_property
    def _word_tells(self) -> Callable[[str], bool | None]:
        return functools.lru_cache(maxsize=_REMEMBERED_WORDS)(self._tells)

    def ends_with_phrase(self, end: str, words: list[re.Match[str]]) -> bool:
        """Whether ``phrase`` matches ``end``, which has one of its words among the last ones if it does."""
        if self.phrase is None or all(match[0].lower() not in self.phrase_words for match in words[-_PHRASE_WORDS:]):
            return False
        return self.phrase.search(end) is not None

    def _told_in_other_scripts(self, end: str) -> bool | None:
        if end.isascii():
            return False if _NUMBER_SIGN.search(end) else None
        if self.scripts is not None and self.scripts.search(end):
            return True
        return False if self.other_scripts is not None and self.other_scripts.search(end) else None

    def _tells(self, letters: str) -> bool | None:
        for word in _parts(letters):
            if word in self.wanted or (self.stem is not None and self.stem.search(word)):
                return True
            if word in self.other or (self.ending is not None and self.ending.search(word)):
                return False
        return None

    def is_something_else(self, before: str) -> bool:
        """Whether what ends ``before`` calls even a plainly formatted number something else."""
        if self._told_in_other_scripts(before[-_PHRASE_CHARACTERS:]) is False:
            return True
        words = list(_LETTERS.finditer(before))
        field_start = _field_start(before)
        if _stands_right_before(before, words, field_start, self._strong):
            return True
        last = words[-1] if words and words[-1].start() >= field_start else None
        ends = self.ending is not None and last is not None and self.ending.search(last[0].lower()) is not None
        return ends and not any(sign.isdigit() for sign in before[words[-1].end() :])


def _field_start(before: str) -> int:
    start = 0
    for end in _FIELD_END.finditer(before):
        start = end.end()
    return start


def _stands_right_before(before: str, words: list[re.Match[str]], field_start: int, sought: frozenset[str]) -> bool:
    """Whether one of ``sought`` ends ``before``: only small words and signs behind it, no other number."""
    for match in reversed(words):
        if match.start() < field_start or _DIGIT.search(before, match.end()):
            return False
        if not sought.isdisjoint(_parts(match[0])):
            return True
        if match[0].lower() not in _SMALL:
            return False
    return False


def _folded(words: str) -> list[str]:
    """``words`` as they read after folding, where letters of other alphabets become Latin ones."""
    return [fold_characters(word) for word in words.split()]


def _other_scripts(*lines: str) -> str:
    """An alternation of words that are found inside others, folded as texts are before they are matched."""
    spellings = {spelled for word in vocabulary(*lines) for spelled in (word, word.upper(), word.capitalize())}
    return "|".join(sorted({re.escape(fold_characters(word)) for word in spellings}))


_PHONE_WORDS = vocabulary(
    "phone phones phoned telephone telephones tel mobile mobiles mob cell cellphone fax call calls called calling",
    "callback text texted texting txt sms whatsapp viber telegram signal dial dialed dialled dialing ring rang",
    "landline",
    "hotline helpline desk office extension answering reach reached reachable contact contacts contactable message",
    "messages voicemail pager registered handset smartphone msisdn caller callers rings ringing dials texts ph telefax",
    "telefon telefono telefone telefoon telefonnummer rufnummer handy handynummer mobil mobilnummer mobiltelefon",
    "festnetz telf telef tlf tlfn tfno tfn fono cellulari celulares celulaire portables kom komorka puhelin puh",
    "matkapuhelin mobiilinumero simi natel dect thoai dienthoai sdt telpon ponsel hp zap ligue liga chiama rufe",
    "buro anruf anrufen ruf rufen durchwahl portable portatile cellulare cel celular movil gsm mobiel appel",
    "appelez appeler rappeler rappelez joindre joignable telephonique telefonisch telefonicamente telefonicznie",
    "erreichbar llamar llame llamen llamame llameme llamenos llamanos chiamami chiamare chiamatemi chiamateci",
    "fon telm tlm kontakt contacto contatto bel bellen bereikbaar dzwonic dzwon dzwoncie zadzwon zadzwonic",
    "telefonuj ligar ligue liguem",
)
_PHONE_STEM = re.compile(r"telefon|telephon|phonen|phone\Z|mobilf|mobiln|handyn|rufn|faxn")
_OTHER_NUMBER_WORDS = vocabulary(
    "order orders invoice ticket id ids account acct reference ref case tracking serial model version isbn issn zip",
    "postal postcode claim policy passport license licence card visa mastercard amex iban ssn social",
    "lat latitude longitude seed timestamp port pid error code part sku patent rfc article articles chapter contract",
    "imei parcel shipment bestellung bestellnummer rechnung rechnungsnummer kundennummer konto purchase booking",
    "artikel commande facture pedido factura ordine fattura build revision commit hash barcode ean upc gtin lot batch",
    "lotto lottery loto lotterie lottozahlen gewinnzahlen aktenzeichen az kapitel vertrag vorgang auftrag lieferschein",
    "capitulo capitolo contrat contrato contratto dossier expediente tarif seriennummer sn item product produkt",
    "coordinates coordinate gps vat abn ein isin doi arxiv siret siren nip regon piva iva cnpj cif nif kvk btw pesel",
    "krs",
    "ust ustid ustidnr steuernummer blz zamowienie zamowienia przesylki przesylka paczka faktura faktury bestelling",
    "bestelnummer factuur factuurnummer encomenda fatura colis pacco paquete paket pakket sendung sendungsnummer",
)
_AMOUNT_WORDS = vocabulary(
    "year years since between population score price cost usd eur gbp total sum amount budget nr jahr jahre preis",
    "pages pp vol volume rows lines epoch ratio length width height dimensions resolution",
)
_HOLDER_WORDS = vocabulary(
    "user users userid uid customer customers member members employee student patient kunde kunden client clients",
    "cliente clientes clienti klant klanten klient klienta",
)
_NUMBER_ENDING = re.compile(r"[a-z]{2}(?:nr|nrn|nummer|nummern)\Z")
_PHONE_PHRASE = re.compile(
    r"(?i)(?:\b(?:my|your|our|his|her|their|contact|direct|work|home|emergency|new|old)"
    r"(?: (?:new|old|own|private|personal|work|home|direct))? (?:number|num|no|nr|digits)"
    r"|'s? (?:(?:new|private|own|cell|mobile|phone|home|work|direct|office) )?(?:number|num|digits)"
    r"|\b(?:number|num) (?:to|for) (?:call|reach|text))\b[^A-Za-z]*(?:(?:is|are|at|was)\b[^A-Za-z]*)?\Z"
    r"|\b(?:home|work|direct|main|day|evening|privat|dienstlich|[tfpm]) ?[:=] ?\Z"
    r"|(?-i:(?:\A|[|\n]|\s{2})\s{0,2}[TMFPC]\.?\s{1,2}\Z)"
    r"|\bcaller[ _-]?id\b[^0-9,;\n]{0,12}\Z|\b(?:wa\.me|t\.me)/\+?\Z"
    r"|\b(?:mijn|meine|mein|mi|mon|mio|minha|meu|moj)"
    r"(?: (?:nieuwe|neue|nouveau|nouvel|nuevo|nuovo|nowy|novo|eigene|private))?"
    r" (?:nummer|num|numer|numero|telefon|mobil)\b[^A-Za-z]*"
    r"(?:(?:is|ist|lautet|es|est|e|to|jest)\b[^A-Za-z]*)?\Z"
)
_PHONE_PHRASE_WORDS = vocabulary(
    "number num no nr digits nummer numer numero telefon mobil privat dienstlich home work direct main day evening",
    "t f p m c id me",
)
_PHONE_SCRIPTS = re.compile(
    r"(?<![^\W\d_])(?:"
    + _other_scripts(
        "тел моб факс τηλ κιν φαξ 手机 手機 电话 電話 携帯 传真 傳真 联系方式 连络 連絡先 전화 휴대폰 휴대전화 핸드폰"
    )
    + r")\.?[^\w]{0,6}\Z|(?:"
    + _other_scripts(
        "телефон мобильн звон номертел τηλεφων κινητο 手机 手機 电话 電話 携帯 传真 傳真 联系方式 連絡先 微信",
        "전화 휴대폰 휴대전화 핸드폰 연락처 팩스",
        "هاتف جوال موبايل تليفون تلفن تلفون موبایل טלפון נייד פון फोन मोबाइल दूरभाष",
        "โทร มือถือ টেলিফোন ফোন மொபைல் தொலைபேசி",
    )
    + r")[^0-9,;!?\n]{0,12}\Z"
)
_OTHER_SCRIPTS_NUMBER = re.compile(
    "(?:"
    + _other_scripts(
        "заказ накладн трек артикул договор счет инвойс ",
        "订单 訂單 单号 運單 运单 快递 注文 伝票 追跡 编号 番号 주문 송장 운송장 παραγγελ طلب",
        "הזמנה ऑर्डर",
    )
    + r")[^0-9,;!?\n]{0,12}\Z"
)
PHONE_OR_OTHER = Announcement(
    _PHONE_WORDS,
    _OTHER_NUMBER_WORDS,
    _PHONE_PHRASE,
    _PHONE_PHRASE_WORDS,
    _PHONE_SCRIPTS,
    _OTHER_SCRIPTS_NUMBER,
    beside=_AMOUNT_WORDS,
    holders=_HOLDER_WORDS,
    stem=_PHONE_STEM,
    ending=_NUMBER_ENDING,
)

CARD_OR_OTHER = Announcement(
    vocabulary(
        "card cards visa mastercard amex maestro jcb diners discover unionpay credit debit cc pan karte",
        "kreditkarte carte creditcards kreditkarten kartennummer kartennr kreditkartennummer kreditkartennr",
        "tarjeta carta creditcard pay paid paying payment charge charged charges billing cartao kort kaart",
        *_folded("карта карты карте карту картой"),
    ),
    vocabulary(
        "order orders invoice ticket tracking track tracked parcel parcels shipment shipping consignment waybill",
        "package purchase sn serials model part article item product contract policy case",
        "serial device imei imsi iccid isbn ean upc gtin sku barcode booking reservation reference ref id ids meter",
        "timestamp epoch seed bestellung bestellnummer sendung sendungsnummer commande colis pedido",
        "rechnung rechnungsnummer kundennummer artikel vertrag auftrag aktenzeichen vorgang lieferschein konto",
        "facture factura fattura ordine contrat contrato contratto seriennummer paket pakket paczka paczki przesylki",
        "pacco paquete encomenda zamowienie zamowienia bestelling bestelnummer",
    ),
    scripts=re.compile(
        "(?:"
        + _other_scripts("карточ 银行卡 信用卡 卡号 カード 카드 κάρτα بطاقة כרטיס कार्ड")
        + r")[^0-9,;!?\n]{0,12}\Z"
    ),
    other_scripts=_OTHER_SCRIPTS_NUMBER,
    stem=re.compile(r"kreditkart|creditcard|cardn"),
    ending=_NUMBER_ENDING,
)

ADDRESS_OR_VERSION = Announcement(
    vocabulary(
        "ip ips ipv address addresses addr host hosts hostname server servers client clients peer peers remote",
        "login logged",
        "connect connected connection connections ping ssh ftp gateway router node nodes dns ssl tls port source",
        "src dst",
        "destination traffic request requests blocked banned attacker listening listen bind inet socket proxy vpn",
        "resolver nameserver adresse direccion indirizzo endereco rechner",
    ),
    vocabulary(
        "version versions upgrade upgraded upgrading upgrades update updated updating updates downgrade",
        "downgraded release",
        "released releases bump bumped bumps changelog firmware build builds package packages install installed",
        "installing",
        "requires patch patched migrate migrated migration library dependency plugin driver sdk chapter section clause",
        "python java jdk jre node openssl chrome chromium firefox php kernel numpy pandas npm pip",
        "tag tags tagged rev revision edition snmp oid oids linux ubuntu debian android ios macos office nginx apache",
        "fassung ausgabe versie wersja verze verzio versao versione surum revisione revisao utgave utgava versio",
        *_folded("версия версии версию вер"),
        "kapitel abschnitt absatz ziffer capitulo capitolo chapitre seccion sezione hoofdstuk secao",
    ),
    other_scripts=re.compile(
        "(?:"
        + _other_scripts("верси обновлен 版本 バージョン 버전 إصدار εκδοσ έκδοσ גרסה संस्करण รุ่น глав раздел 章节 第")
        + r")[^0-9,;!?\n]{0,12}\Z"
    ),
    by_field=False,
)

_SECTION_BEFORE = re.compile(
    r"(?i)(?:\u00a7|\b(?:section|sections|sec|chapter|ch|clause|article|art|paragraph|para|appendix|figure|fig|table|step"
    r"|item|oid|rule|annex|heading|kapitel|abschnitt|absatz|ziffer|artikel|teil|anlage|capitulo|seccion|articulo|chapitre"
    r"|capitolo|sezione|articolo|hoofdstuk|paragraaf|secao|rozdzial|room|zimmer|raum)s?)[ .:#]*\Z"
)

_NUMBER_SIGN = re.compile(r"(?i)(?:\b[spa]/[nc]|3aka3[a-z]{0,2})\W{0,4}(?:no\W{0,3})?\Z")
_SMALL = vocabulary(
    "number num numbers no nr nummer numero id code is was are at on the to my your our as with of for von vom du de"
)
_BETWEEN = vocabulary(
    "me us him her them you number numbers num no nr is at on to the my your our under via now please back or and",
    "am from sent an sie mich uns b i em strong span td th li br div label value",
)


@functools.lru_cache(maxsize=_REMEMBERED_WORDS)
def _parts(letters: str) -> tuple[str, ...]:
    """The words of ``letters`` in lower case, last first: ``phoneNumber`` as one word and as its two."""
    parts = _PARTS.findall(letters)
    return (letters.lower(), *(part.lower() for part in reversed(parts))) if len(parts) > 1 else (letters.lower(),)


def announced(before: str, words: Announcement) -> bool | None:
    """What the last telling word of ``before`` announces: what is wanted, something else, or (None) nothing."""
    return words.telling(before)


def follows_phone_word(before: str) -> bool:
    """Whether only small words, and no other number, stand between a word such as ``phone`` and the end."""
    end = before[-_PHRASE_CHARACTERS:]
    words = list(_LETTERS.finditer(before))
    if PHONE_OR_OTHER.ends_with_phrase(end, words) or (not end.isascii() and _PHONE_SCRIPTS.search(end)):
        return True
    for match in reversed(words):
        letters = match[0].lower()
        if not _PHONE_WORDS.isdisjoint(_parts(match[0])) or _PHONE_STEM.search(letters):
            return not any(sign.isdigit() for sign in before[match.end() :])
        if letters not in _BETWEEN:
            return False
    return False


def is_called_otherwise(before: str, words: Announcement) -> bool:
    """Whether ``before`` ends by calling what follows something else, however it is formatted."""
    return words.is_something_else(before)


def is_section_number(before: str) -> bool:
    """Whether ``before`` ends with a word such as ``section``, so that dots and digits number a part of a document."""
    return _SECTION_BEFORE.search(before) is not None
