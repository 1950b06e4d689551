"""Which numbers are personal data: their usual spellings, what stands beside them, and what only looks like them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nethical_assets.core.governance.announcements import ADDRESS_OR_VERSION, CARD_OR_OTHER, PHONE_OR_OTHER, announced
from nethical_assets.core.governance.header_lines import with_labels
from nethical_assets.core.governance.normalise import fold_characters
from nethical_assets.core.governance.rules import load_ruleset
from nethical_assets.core.governance.screener import Screener

SCREENER = Screener(load_ruleset(Path(__file__).resolve().parents[3] / "config" / "screening"))
CARD = "4111111111111111"
GROUPED = "4111 1111 1111 1111"
AMEX = "3782 822463 10005"
ADDRESS = "93.184.216.34"


def found(text: str) -> list[tuple[str, str]]:
    return [(record["kind"], text[record["start"] : record["end"]]) for record in SCREENER.screen([text]).to_records()]


def missed(kind: str, value: str, texts: list[str]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The texts in which nothing of ``kind`` is found that is ``value``, but for a bracket before it."""
    return [(text, seen) for text in texts if {(kind, value), (kind, f"({value}")}.isdisjoint(seen := found(text))]


SPELLINGS = (
    *("+1 (212) 555.0134", "212 555.0134", "212-555.0134", "(212)555-0134", "+1.212.555.0134", "1 (800) 555-0199"),
    *("+44-20 7946.0871", "+44 (0)20 7946 0871", "+44(0)20 7946 0871", "(0)20 7946 0871", "0044 20 7946 0871"),
    *("0172.5550134", "0172 5550134", "030/1234567", "(030) 1234567", "0911/123456-0", "+49 (0)172 5550134"),
    *("01.43.17.52.08", "+33 (0)1 43 17 52 08", "00420 601 782 007", "8-916-123-45-67", "8 (916) 123-45-67"),
    *("+7 916 123-45-67", "098765 43210", "+81-3-1234-5678", "(02) 9374 4000", "(11) 98765-4321", "+353 1 234 5678"),
)


@pytest.mark.parametrize("number", SPELLINGS)
def test_a_telephone_number_is_found_in_its_usual_spellings(number: str) -> None:
    surroundings = (
        "{};",
        "my number {}",
        "at {} now",
        "x={}",
        "a,{},b",
        "{}.",
        "({})",
        "x\n{}\n",
        "tel:{}",
        "{}…",
        "№{}",
    )
    assert missed("PHONE", number, [form.replace("{}", number) for form in surroundings]) == []


def test_words_of_something_else_silence_a_plain_number_only_from_right_beside_it() -> None:
    number = "212-555-0134"
    plain = [
        f"a year ago {number}",
        f"I moved in 2019 and use {number}",
        f"My parcel was late so try {number}",
        f"Order 5 shipped. {number}",
        f"customer {number}",
        f".{number}",
        f"{number} {number}",
        f"℡{number}",
    ]
    assert missed("PHONE", number, plain) == []
    for words in (
        "order",
        "Order no.",
        "Bestellnr.",
        "Kd.-Nr.",
        "contract",
        "Aktenzeichen",
        "population",
        "USD",
        "заказ",
    ):
        assert found(f"{words} {number}") == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("17 0172 5550134", "0172 5550134"),
        ("手机号13800138000", "13800138000"),
        ("我的手机号码是13800138000", "13800138000"),
        ("тел. 9161234567", "9161234567"),
        ("ТЕЛЕФОН: 916 123 45 67", "916 123 45 67"),
        ("https://wa.me/442079460871?text=hi", "442079460871"),
        ("tel=0172+5550134", "0172+5550134"),
        ("tel=%2B49+172+5550134&x=1", "%2B49+172+5550134"),
        ("phone 2125550134.0", "2125550134"),
        ("Telefonszám: 1228584757", "1228584757"),
        ("Jo Bo,69-2757-0200,jo@example.org", "69-2757-0200"),
        ("Anna's number is 2652049417", "2652049417"),
    ],
)
def test_words_and_cells_beside_a_number_tell_that_it_is_a_telephone(text: str, number: str) -> None:
    assert ("PHONE", number) in found(text)


def test_a_card_is_found_beside_words_signs_and_other_cards() -> None:
    forms = (
        *("card-{}", "Visa-{}", "no.{}", "card.{}", "{}-x", "{}.Thanks", "{}€", "€{}", "№{}", "…{}", "{}…", "{}.0"),
        *("card number for order: {}", "{} {}", "{}, {}", "卡号{}", "Kartennummer {}"),
    )
    assert missed("CREDIT_CARD", CARD, [form.replace("{}", CARD) for form in forms]) == []
    grouped = (
        "{} 5500 0000 0000 0004",
        "5500 0000 0000 0004 {}",
        "{} 0927 123",
        "a year ago {}",
        "{}.Thanks",
        "card-{}",
    )
    assert missed("CREDIT_CARD", GROUPED, [form.replace("{}", GROUPED) for form in grouped]) == []
    assert missed("CREDIT_CARD", AMEX, [f"{AMEX} 1234", f"amex {AMEX} 1234", f"{AMEX} 12/27 1234"]) == []


def test_a_security_code_is_never_part_of_a_card() -> None:
    card = "6011 1111 1111 1117"
    assert missed("CREDIT_CARD", card, [f"{card} {code:03d}" for code in range(1000)]) == []


def test_an_address_is_found_beside_words_and_signs() -> None:
    forms = ("{}.Thanks", "no.{}", "nr.{}", "{}…", "…{}", "<{}>", "{}-", "root@{}", "http://{}", "{}€")
    assert missed("IP_ADDRESS", ADDRESS, [form.replace("{}", ADDRESS) for form in forms]) == []
    forms = ("a\\n{}", "a\n{}", "[{}]:443", "{}%eth0", "[{}%25eth0]:80", "{}.", "no.{}", "http://[{}]/", "addr:{}")
    for address in ("2001:db8:85a3::8a2e:370:7334", "fe80::1ff:fe23:4567:890a", "2a02:8108:1:2::9"):
        assert missed("IP_ADDRESS", address, [form.replace("{}", address) for form in forms]) == []
    forms = ("{}", "dns {}", "from {}", "<ip>{}</ip>", "Server {}", "> {}", "host={}")
    assert missed("IP_ADDRESS", "8.8.8.8", [form.replace("{}", "8.8.8.8") for form in forms]) == []


@pytest.mark.parametrize(
    "text",
    [
        *("05/06/2026 07/08/2026", "06/2026 07/2026", "05.06.2026-07.08.2026", "09/2031 498", "2026/10/11"),
        *("Nr. 030/1234567", "Kdnr 0172 5550134", "Artikelnummer 030 1234567", "Vertragsnr. 030/1234567"),
        *("chapter 030 1234567", "Az. 030/1234567", "lotto 04 12 23 31 40 49", "04 12 23 31 40 49", "04 12 23 31 40"),
        *("1,060 2391.97 EUR", "08:00:00 1299 2640", "100 200 300 400 500 600", "0012 0013 0014 0015"),
        *("3437 017278 74646", "1234 0758 3878 0291", "-1 0 1 0172 5550134 -3", "12345678,anna"),
        *("Rechnung Nr. " + CARD, "Bestellnr. " + CARD, "SN:" + CARD, "S/N " + CARD, "订单号" + CARD, "заказ " + CARD),
        *("order " + GROUPED, "tracking 4111-1111-1111-1111", GROUPED + " 1111 1111", CARD + ".pdf", CARD + "-a1b2"),
        *("pkg>=1.2.3.4,<2.0.0.0", "libfoo_1.2.3.4_amd64.deb", "nginx/1.25.3.1", "Office 16.0.1.2 installed"),
        *("Linux 5.15.0.91", "SNMP 1.3.6.1", "tag 1.2.3.4", "rev 1.2.3.4", "Versión 1.2.3.4", "Fassung 1.2.3.4"),
        *("версия 1.2.3.4", "ВЕРСИЯ: 1.2.3.4", "版本1.2.3.4", "Kapitel 1.2.3.4", "Abschnitt 4.3.2.1", "Tool 1.2.3.4"),
        *("Chrome/120.0.0.0 Safari", "foo-1.2.3.4.tar.gz", "1.2.3.4.RELEASE", "image:1.2.3.4-alpine", "a.b::c::d"),
        *('ObjectIdentifier("2.5.29.18")', 'DIGITS = "0123456789"', "1234567890"),
        *("gebraucht 12.03.1984", "le 12/03/1984", "page=40index.html", "total=40", '"anna b" @ example.org'),
    ],
)
def test_what_only_looks_like_a_number_of_a_person_is_none(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    "label",
    [
        *("dob", "D.O.B.", "bday", "birth_dt", "fecha_nacimiento", "fechaNacimiento", "nacida el", "geb_datum", "geb."),
        *("geb. am", "GEBURTSDATUM", "data_nascimento", "dateNaissance", "née le", "né le", "nato il", "дата рождения"),
        *(
            "ДАТА РОЖДЕНИЯ",
            "生年月日",
            "出生日期",
            "생년월일",
            "geboortedatum",
            "födelsedatum",
            "fødselsdato",
            "doğum tarihi",
        ),
        *("syntymäaika", "data urodzenia", "datum narození", "تاريخ الميلاد", "ngày sinh"),
    ],
)
def test_a_date_of_birth_may_be_named_in_many_languages(label: str) -> None:
    texts = [f"{label}{sign}1984-03-12" for sign in (": ", "=", " ", '": "')]
    assert missed("DATE_OF_BIRTH", "1984-03-12", texts) == []


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("EMAIL", "anna%u0040example.org"),
        ("EMAIL", "anna=40example.org"),
        ("EMAIL", '"anna b"@example.org'),
        ("EMAIL", '"anna"@example.org'),
        ("SSN", "536\u201322\u20138726"),
        ("SSN", "536\u201122\u20118726"),
        ("IBAN", "de89 3704 0044 0532 0130 00"),
    ],
)
def test_a_value_is_found_however_its_signs_are_written(kind: str, value: str) -> None:
    assert (
        missed(kind, value, [f"{before}{value}{after}" for before in ("", "to ", "x: ") for after in ("", " and")])
        == []
    )


@pytest.mark.parametrize("text", ["ssn[0]=536228726", "ssn 536228726.0", "ssn: 536228726.0,x"])
def test_a_labelled_number_may_be_an_item_or_a_float(text: str) -> None:
    assert ("SSN", "536228726") in found(text)


def test_an_iban_needs_no_gap_behind_its_label() -> None:
    assert ("IBAN", "DE89370400440532013000") in found("IBANDE89370400440532013000")


TABLES = (
    "name,ssn,dob\nAnna,536228726,1980-01-02\nBob,536228727,1981-05-06",
    "name;ssn;dob\r\nAnna;536228726;1980-01-02\r\nBob;536228727;1981-05-06\r\n",
    "dob\tssn\tname\n1980-01-02\t536228726\tAnna\n1981-05-06\t536228727\tBob",
    'name,ssn,dob\n"Berg, Anna","536228726","1980-01-02"\n"Bo",536228727,1981-05-06',
    "So:\n| name | ssn | dob |\n|---|:--|---|\n| Anna | 536228726 | 1980-01-02 |\n| Bo | 536228727 | 1981-05-06 |\n",
    "name,ssn,dob\\nAnna,536228726,1980-01-02\\nBob,536228727,1981-05-06",
)


@pytest.mark.parametrize("text", TABLES)
def test_a_header_line_in_a_text_labels_the_cells_below_it(text: str) -> None:
    assert found(text) == sorted(found(text), key=lambda item: text.index(item[1]))
    assert set(found(text)) == {
        *(("SSN", number) for number in ("536228726", "536228727")),
        *(("DATE_OF_BIRTH", day) for day in ("1980-01-02", "1981-05-06")),
    }


@pytest.mark.parametrize(
    "text",
    [
        "name,ssn,day\nAnna,12 x,1980-01-02\n",
        "due,paid,dob\nAnna,1980-01-02\n",
        "my phone, dob\nand then",
        "a,1,dob\nAnna,2,1980-01-02",
        "ssn, dob and\n1980-01-02",
    ],
)
def test_no_cell_is_labelled_by_what_is_no_header_of_it(text: str) -> None:
    assert found(text) == []


def test_labels_are_put_before_cells_and_offsets_are_kept() -> None:
    text = 'name,dob\nAnna,"1980-01-02"\n'
    labelled = with_labels(text)
    assert labelled is not None
    start = labelled.text.index("1980")
    assert labelled.text[: start + 4].endswith("\ndob: 1980")
    assert text[slice(*labelled.original_span(start, start + 10))] == "1980-01-02"


@pytest.mark.parametrize(
    ("before", "words", "telling"),
    [
        ("card number for order: ", CARD_OR_OTHER, True),
        ("order for card: ", CARD_OR_OTHER, True),
        ("number for order: ", CARD_OR_OTHER, False),
        ("phone number for your order: ", PHONE_OR_OTHER, True),
        ("call about order ", PHONE_OR_OTHER, False),
        ("call user ", PHONE_OR_OTHER, False),
        ("call customer services ", PHONE_OR_OTHER, True),
        ("a year ago ", PHONE_OR_OTHER, None),
        ("in the year ", PHONE_OR_OTHER, False),
        ("Telefonnummer ", PHONE_OR_OTHER, True),
        ("Zimmernummer ", PHONE_OR_OTHER, False),
        ("電話番号", PHONE_OR_OTHER, True),
        ("注文番号", PHONE_OR_OTHER, False),
        ("版本", ADDRESS_OR_VERSION, False),
    ],
)
def test_the_nearest_announcing_word_tells(before: str, words: object, telling: bool | None) -> None:
    assert announced(fold_characters(before), words) is telling  # type: ignore[arg-type]


def test_the_euro_sign_is_a_letter_within_a_word_only() -> None:
    assert fold_characters("h\u20acllo 69\u20ac73") == "hello 69e73"
    assert "e" not in fold_characters("5\u20ac \u20ac5 5 \u20ac, \u20ac 5")


OTHER_LABELS = (
    *("<td>ssn</td><td>{}</td>", "<b>Social Security</b> <i>{}</i>", '<a href="x">employeeSsn</a> <b>{}</b>'),
    *("The SSN for the employee is {}.", "SSN of Jo Berg: {}", "my social is {} ok", "soc sec no: {}", "ss# {}"),
    *("SSN/TIN: {}", "Número de seguro social: {}", "SSN no. {}", "Soc. Sec. No.: {}"),
    "INSERT INTO customers (id, ssn, tel) VALUES (7, '{}', '030 1234567');",
    'insert into x."people" ([id], [ssn])\nvalues (1, {}),\n(2, NULL);',
    "INSERT INTO p (name, ssn) VALUES ('O''Berg, (Jo)', '000'), ('x', '{}')",
    "ssn\n000\n{}\n",
)


@pytest.mark.parametrize("form", OTHER_LABELS)
def test_a_number_is_told_by_its_label_in_markup_prose_and_sql(form: str) -> None:
    assert ("SSN", "536228726") in found(form.replace("{}", "536228726"))


@pytest.mark.parametrize(
    "text",
    [
        *("INSERT INTO t (id, total) VALUES (536228726, 7)", "INSERT INTO t (id, ssn) VALUES (536228726)"),
        *("INSERT INTO t (ssn) SELECT 536228726", "social media 536228726", "ssn\nand then\n536228726 x"),
        "INSERT INTO t (id, ssn) VALUES (536228726, 7), (",
    ],
)
def test_no_value_is_labelled_by_what_is_no_column_of_it(text: str) -> None:
    assert not any(kind == "SSN" for kind, _ in found(text))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("Telefon: 040/4 11 97 74", "040/4 11 97 74"), ("Llámame al 636 35 92 25", "636 35 92 25")),
        *(("Proszę dzwonić: 22 241 81 52", "22 241 81 52"), ("Chiamami al 11 93691-0423", "11 93691-0423")),
        *(("Il mio numero è 350 8809706", "350 8809706"), ("mijn nieuwe nummer: 350 8809706", "350 8809706")),
        *(("Customer left 621 55 76 91 as callback", "621 55 76 91"), ("Privat: 22 387 63 81", "22 387 63 81")),
        *(("tel 8(916)2155301", "8(916)2155301"), ("Bel me op (22) 476 81 48", "(22) 476 81 48")),
        *(("al (11) 9 2152-1287 stasera", "(11) 9 2152-1287"), ("phone->06.39438827", "06.39438827")),
        *(("Rufnummer: 0086 138 1510 2479", "0086 138 1510 2479"), ("Nr.: 0030 210 183 9188", "0030 210 183 9188")),
    ],
)
def test_a_telephone_is_told_by_words_of_many_languages(text: str, number: str) -> None:
    assert ("PHONE", number) in found(text)


@pytest.mark.parametrize(
    "text",
    [
        *("SIRET 204 033 447 35389", "NIP 091-245-23-40", "P.IVA 03959602633", "CNPJ 09.628.232/3793-25"),
        *("nr klienta 0834166477", "n.º de cliente 082658332", "EAN 0074297395361", "Zamówienie nr 00486031/2019"),
        *("Pedido 006147230 enviado", "039 255 916 rows inserted", "USPS 9400 6632 5128 0070 0038 48"),
        *("my contact: x, USPS 9400 7141 2485 9051 3950 04", "call c581db0b-5ecb-6573-7198-a8dad390b483"),
        *("Paket 38696962744851 unterwegs", "Update auf 10.15.8.5 installieren", "upgraded it to 10.1.2.3"),
        *("AS15978 10.0.0.0/8. Then", "mise à jour vers 10.2.1.2", "Bestellnummer 007-2526606-0430693"),
    ],
)
def test_what_is_announced_as_something_else_in_many_languages_is_none(text: str) -> None:
    assert found(text) == []


def test_a_brand_may_stand_joined_before_a_card() -> None:
    assert missed("CREDIT_CARD", CARD, [f"{brand}-{CARD}" for brand in ("MC", "cc", "CB", "KK")]) == []
