"""Texts that are not UTF-8 are read in the encoding they were written in."""

from __future__ import annotations

from pathlib import Path

import pytest

from sterna import charsets, delimited
from sterna.data import text

CHINESE = ("味道很好，服务热情，下次还来。", "物流太慢，质量很差，非常失望。", "环境舒适，价格实惠，推荐给大家。")
TRADITIONAL = ("味道很好，服務熱情，下次還來。", "物流太慢，質量很差，非常失望。")
JAPANESE = ("この店はとても美味しいです。", "カメラの画質が悪い。また来たいと思います。")
KOREAN = ("이 가게는 정말 맛있어요.", "배송이 너무 느려요. 다음에 또 오고 싶습니다.")
RUSSIAN = ("Очень хороший магазин, всем рекомендую.", "Доставка слишком медленная, качество плохое.")
GREEK = ("Πολύ καλό κατάστημα, το συνιστώ σε όλους.", "Η παράδοση ήταν αργή.")
HEBREW = ("חנות טובה מאוד, מומלץ לכולם.", "המשלוח היה איטי.")
ARABIC = ("متجر جيد جدا وأنصح به الجميع.", "كان التسليم بطيئا.")
THAI = ("ร้านนี้ดีมาก แนะนำให้ทุกคน", "การจัดส่งช้ามาก")
WRITTEN = [
    ("gb18030", CHINESE, "GB 18030"),
    ("gbk", CHINESE, "GB 18030"),
    ("big5", TRADITIONAL, "Big5"),
    ("shift_jis", JAPANESE, "Shift JIS"),
    ("euc_jp", JAPANESE, "EUC-JP"),
    ("euc_kr", KOREAN, "EUC-KR"),
    ("cp1251", RUSSIAN, "Windows-1251"),
    ("koi8_r", RUSSIAN, "KOI8-R"),
    ("cp1253", GREEK, "Windows-1253"),
    ("cp1255", HEBREW, "Windows-1255"),
    ("cp1256", ARABIC, "Windows-1256"),
    ("cp874", THAI, "Windows-874"),
]
# Accents that stand before letters are valid Big5, GB 18030 and Shift JIS, and a few of them look like anything.
WESTERN = [
    "déçu par la qualité, le café était froid à l'arrivée",
    "Ein sehr schönes Geschäft, für alle. Das Gerät läuft, die Größe stimmt.",
    "El niño comió piña mañana. ¿Qué tal? ¡Muy bien!",
    "it’s a “great” phone – i’d buy it again…",
    "the food at the café was great, naïve service",
    "déc",
    "une idée créée hier",
]


@pytest.mark.parametrize(("encoding", "texts", "spoken"), WRITTEN)
def test_a_table_in_another_alphabet(tmp_path: Path, encoding: str, texts: tuple[str, ...], spoken: str) -> None:
    place = tmp_path / "t.csv"
    lines = ["text,label", *("plain words,0" for _ in range(300)), *(f'"{one}",1' for one in texts)]
    place.write_bytes("\n".join(lines).encode(encoding))
    raw = delimited.read(place)
    assert tuple(raw.columns["text"])[300:] == texts
    assert [one.sentence for one in raw.findings] == [
        f"t.csv is read as {spoken}, not as UTF-8; save it as UTF-8 if letters look wrong."
    ]


@pytest.mark.parametrize("written", WESTERN)
def test_accents_are_no_other_alphabet(written: str) -> None:
    assert charsets.likely([written.encode("cp1252")]) == charsets.WESTERN


def test_what_says_what_it_is_is_believed_while_it_fits() -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        content = "好评".encode(encoding)
        assert content.decode(charsets.plain(content)) == "好评"
    broken = b"\xff\xfe\x00"  # an odd number of bytes is no UTF-16
    assert charsets.plain(broken) == ""


def test_every_byte_is_read_as_something() -> None:
    for content, encoding in ((b"caf\xe9", "cp1252"), (b"\x81", "latin-1"), (bytes(range(256)), "latin-1")):
        assert charsets.of(content, charsets.likely([content])) == encoding
    assert charsets.of(b"", ()) == charsets.UTF_8


def test_files_in_class_folders(tmp_path: Path) -> None:
    for name, one, encoding in [
        *((f"all/好评/{number}.txt", one, "gb18030") for number, one in enumerate(CHINESE)),
        *((f"all/差评/{number}.txt", one, "utf-8") for number, one in enumerate(TRADITIONAL)),
        ("all/差评/marked.txt", "一共三个。", "utf-16"),
    ]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(one.encode(encoding))
    loaded = text.load(tmp_path / "all")
    read = {loaded.table.items.read(row, 0) for row in range(len(loaded.table.items))}
    assert read == {*CHINESE, *TRADITIONAL, "一共三个。"}
    (told,) = (one.sentence for one in loaded.findings if one.kind == "encoding")
    assert told == ("4 files are not UTF-8 and read as GB 18030 (3), UTF-16 (1); save as UTF-8 if letters look wrong.")
