"""What the words before a number announce: a telephone, a card, a version, an order.

What belongs here: the words that tell one kind of number from another, and the nearest of them. What does not: the
shape of the numbers themselves (the ``*_validators`` modules).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_LETTERS = re.compile(r"[A-Za-z]+")
_FIELD_END = re.compile(r"[!?;,\n|&{}]|\.\s+(?=[A-Z])")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


_READINGS = 16
_PHRASE_CHARACTERS = 40


def _words(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


@dataclass(frozen=True)
class Announcement:
    """Words that announce what is looked for, and words that announce something else.

    ``phrase`` matches, at the end of what comes before, words that only together announce what is looked for. With
    ``by_field`` a word of something else counts up to the end of its sentence or field only.
    """

    wanted: frozenset[str]
    other: frozenset[str]
    phrase: re.Pattern[str] | None = None
    by_field: bool = True

    @functools.cached_property
    def telling(self) -> Callable[[str], bool | None]:
        """``announced`` for these words; the readings of one match ask for the same text again and again."""
        return functools.lru_cache(maxsize=_READINGS)(self._telling)

    def _telling(self, before: str) -> bool | None:
        if self.phrase is not None and self.phrase.search(before[-_PHRASE_CHARACTERS:]):
            return True
        field = len(_LETTERS.findall(_FIELD_END.split(before)[-1])) if self.by_field else len(before)
        for number, letters in enumerate(reversed(_LETTERS.findall(before))):
            for word in _parts(letters):
                if word in self.wanted:
                    return True
                if number < field and word in self.other:
                    return False
        return None


_PHONE_WORDS = _words(
    "phone phones phoned telephone telephones tel mobile mobiles mob cell cellphone fax call calls called calling",
    "callback text texted texting txt sms whatsapp viber telegram signal dial dialed dialled dialing ring landline",
    "hotline helpline desk office extension answering reach reached reachable contact contacts contactable message",
    "messages voicemail pager registered handset smartphone msisdn",
    "telefon telefono telefone telefoon telefonnummer rufnummer handy handynummer mobil mobilnummer mobiltelefon",
    "festnetz",
    "buro anruf anrufen ruf rufen durchwahl portable portatile cellulare cel celular movil gsm mobiel appel",
    "appelez appeler",
    "telephonique llamar llame bellen",
)
_OTHER_NUMBER_WORDS = _words(
    "order orders invoice ticket id ids account acct reference ref case tracking serial model version isbn issn zip",
    "postal postcode claim policy passport license licence card visa mastercard amex iban ssn social population",
    "year years since between lat latitude longitude seed timestamp port pid error code part sku patent rfc score",
    "price cost usd eur gbp imei parcel shipment bestellung bestellnummer rechnung rechnungsnummer kundennummer konto",
    "artikel commande facture pedido factura ordine fattura build revision commit hash barcode ean upc gtin lot batch",
)
_PHONE_PHRASE = re.compile(
    r"(?i)(?:\b(?:my|your|our|his|her|their|contact|direct|work|home|emergency) (?:number|num|no|nr)"
    r"|\b(?:number|num) (?:to|for) (?:call|reach|text))\b[^A-Za-z]*(?:(?:is|at|was)\b[^A-Za-z]*)?\Z"
    r"|\b(?:home|work|direct|main|day|evening|[tfpm]) ?[:=] ?\Z"
    r"|\b(?:mijn|meine|mein|mi|mon|mio|minha|meu|moj) (?:nummer|numero|telefon|mobil)\b[^A-Za-z]*"
    r"(?:(?:is|ist|es|est)\b[^A-Za-z]*)?\Z"
)
PHONE_OR_OTHER = Announcement(_PHONE_WORDS, _OTHER_NUMBER_WORDS, _PHONE_PHRASE)

CARD_OR_OTHER = Announcement(
    _words(
        "card cards visa mastercard amex maestro jcb diners discover unionpay credit debit cc pan karte",
        "kreditkarte carte",
        "tarjeta carta creditcard pay paid paying payment charge charged charges billing",
    ),
    _words(
        "order orders invoice ticket tracking track tracked parcel parcels shipment shipping consignment waybill",
        "package",
        "serial device imei imsi iccid isbn ean upc gtin sku barcode booking reservation reference ref id ids meter",
        "timestamp epoch seed bestellung bestellnummer sendung sendungsnummer commande colis pedido",
    ),
)

ADDRESS_OR_VERSION = Announcement(
    _words(
        "ip ips ipv address addresses addr host hosts hostname server servers client clients peer peers remote",
        "login logged",
        "connect connected connection connections ping ssh ftp gateway router node nodes dns ssl tls port source",
        "src dst",
        "destination traffic request requests blocked banned attacker listening listen bind inet socket proxy vpn",
    ),
    _words(
        "version versions upgrade upgraded upgrading upgrades update updated updating updates downgrade",
        "downgraded release",
        "released releases bump bumped bumps changelog firmware build builds package packages install installed",
        "installing",
        "requires patch patched migrate migrated migration library dependency plugin driver sdk chapter section clause",
        "python java jdk jre node openssl chrome chromium firefox php kernel numpy pandas npm pip",
    ),
    by_field=False,
)

_SECTION_BEFORE = re.compile(
    r"(?i)(?:\u00a7|\b(?:section|sections|sec|chapter|ch|clause|article|art|paragraph|para|appendix|figure|fig|table|step"
    r"|item|oid|rule|annex|heading)s?)[ .:#]*\Z"
)

_BETWEEN = _words(
    "me us him her them you number numbers num no nr is at on to the my your our under via now please back or and",
    "am",
)


def _parts(letters: str) -> Iterator[str]:
    """The words of ``letters`` in lower case, last first: ``phoneNumber`` as one word and as its two."""
    yield letters.lower()
    parts = _PARTS.findall(letters)
    if len(parts) > 1:
        yield from (part.lower() for part in reversed(parts))


def announced(before: str, words: Announcement) -> bool | None:
    """What the last telling word of ``before`` announces: what is wanted, something else, or (None) nothing."""
    return words.telling(before)


def follows_phone_word(before: str) -> bool:
    """Whether only small words stand between a word such as ``phone`` and the end of ``before``."""
    for letters in reversed(_LETTERS.findall(before)):
        if not _PHONE_WORDS.isdisjoint(_parts(letters)):
            return True
        if letters.lower() not in _BETWEEN:
            return False
    return False


def is_section_number(before: str) -> bool:
    """Whether ``before`` ends with a word such as ``section``, so that dots and digits number a part of a document."""
    return _SECTION_BEFORE.search(before) is not None
