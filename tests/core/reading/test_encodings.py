"""Guessing encodings: Western text is read, and everything else is said to be a guess."""

from __future__ import annotations

from pathlib import Path

import pytest

from nethical_assets.core.reading.encodings import guess_encoding, unmarked_encoding

WESTERN = {
    "French": "La créée naïveté où l\u2019été s\u2019achève: «garçon», À bientôt, ÉCOLE, œuvre \u2013 5 € déjà vu",
    "German": "Über Größe und Füße läßt sich streiten; Äpfel, Öl, „Straße“, schön",
    "Finnish": "Päätös oli hyvä, älä sää mää töitä yötä, hääyö",
    "Spanish": "¿Qué pasó mañana? ¡Señor, el niño comió! AÑO España 1ª 2º",
    "Portuguese": "ação não coração São Paulo informações às três avô",
    "Danish": "Æblet på øen, rødgrød med fløde, smørrebrød",
    "English": "that\u2019s £5 “quoted” text — a café… 20°C",
}
OTHERS = {
    "gbk": "我们今天去公园\uff0c是的。天气很好\uff01",
    "big5": "我們今天去公園天氣很好",
    "shift_jis": "これはテストです。東京に行きます",
    "euc_jp": "これはテストです。東京に行きます",
    "euc_kr": "안녕하세요 오늘 날씨가 좋네요",
    "koi8_r": "Привет, как дела? Это тест.",
    "cp1251": "Привет, как дела? Это тест.",
    "cp866": "Привет, как дела? Это тест.",
    "cp1253": "Καλημέρα σας, τι κάνετε;",
    "cp1255": "שלום עולם",
    "cp1256": "مرحبا بالعالم",
    "tis_620": "สวัสดีชาวโลก",
    "cp1250": "Zażółć gęślą jaźń, święto, łódź, księżyc",
    "iso8859_2": "Zażółć gęślą jaźń, święto, łódź, księżyc",
    "cp1254": "Iş\u0131k ağaç şeker güneş çoğu değil",
    "mac_roman": "¿Qué pasó mañana? Señor, el niño comió, España",
    "cp437": "La créée naïveté garçon déjà vu",
    "cp850": "Über Größe und Füße, Äpfel",
    "cp858": "Möbel, schön, das Café schloß, nämlich äußerst, öfter",
}


@pytest.fixture
def guess(tmp_path: Path):
    def guess_of(content: bytes):
        path = tmp_path / "rows.csv"
        path.write_bytes(content)
        return guess_encoding(path)

    return guess_of


@pytest.mark.parametrize("language", WESTERN)
def test_western_text_is_read_as_what_it_is(language: str, guess) -> None:
    text = f"text,label\n{WESTERN[language]},1\n" * 5
    found = guess(text.encode("cp1252"))
    assert found.certain
    assert text.encode("cp1252").decode(found.encoding) == text


@pytest.mark.parametrize("encoding", OTHERS)
def test_a_guess_that_may_be_wrong_says_so(encoding: str, guess) -> None:
    text = "text,label\n" + f"{OTHERS[encoding]},1\n" * 5
    found = guess(text.encode(encoding))
    assert not found.certain and found.why
    assert guess(text.encode()).encoding == "utf-8"


def test_bytes_that_are_controls_in_latin_1_mean_cp1252(guess) -> None:
    assert guess(b"text\nthat\x92s it\n").encoding == "cp1252"
    assert guess(b"text\ncaf\xe9\n").encoding == "latin-1"
    assert guess(b"text\nplain\n").encoding == "utf-8"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_byte_order_mark_decides(encoding: str, guess) -> None:
    found = guess("text\nhello\n".encode(encoding))
    assert (found.encoding, found.certain) == (encoding, True)


def test_damaged_utf_8_is_not_western(guess) -> None:
    found = guess("text\nété, où, déjà\n".encode() * 20 + b"\xff\n")
    assert not found.certain and "UTF-8, with damaged places" in found.why


def test_a_character_cut_by_the_end_of_the_file_is_no_utf_8(guess) -> None:
    assert not guess(b"text\ncaf\xc3").encoding.startswith("utf")


def test_a_character_between_two_pieces_is_utf_8(guess) -> None:
    assert guess(b"a" * ((1 << 20) - 1) + "é".encode()).encoding == "utf-8"


@pytest.mark.parametrize(
    "word", ["caf\u00e9", "Stra\u00dfe caf\u00e9", "M\u00e4rz, Caf\u00e9", "r\u00f6tlich na\u00efve"]
)
@pytest.mark.parametrize("codec", ["cp437", "cp850"])
def test_letters_of_dos_are_not_taken_for_quotation_marks(word: str, codec: str, guess) -> None:
    assert not guess(f"{word} and plain words\n".encode(codec) * 20).certain


def test_only_what_is_told_by_how_letters_stand_is_a_guess(guess) -> None:
    text = "caf\u00e9 \u2013 d\u00e9j\u00e0 vu\n" * 9
    assert (guess(text.encode("cp1252")).encoding, guess(text.encode("cp1252")).guessed) == ("cp1252", True)
    for codec in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert not guess(text.encode(codec)).guessed


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", ["id,text\n1,caf\u00e9 au lait\n", '{"text": "a\u4f60\u597d b and more words"}\n' * 9])
def test_wide_encodings_without_a_mark_are_told_by_their_zero_bytes(text: str, codec: str) -> None:
    assert unmarked_encoding(text.encode(codec)) == codec


@pytest.mark.parametrize(
    "first", [b"", b"\0", b"\0" * 400, bytes(range(256)), b"text\0and more of it" * 20, b"abc" * 99]
)
def test_other_bytes_are_no_wide_encoding(first: bytes) -> None:
    assert unmarked_encoding(first) is None
