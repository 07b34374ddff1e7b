"""Words and runs of them, in scripts with and without spaces."""

from unicodedata import normalize

import pytest

from bdpo.ngrams import runs, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's THE same_thing, 2 times.", ["it", "s", "the", "same_thing", "2", "times"]),
        ("“Straße” — déjà vu…", ["straße", "déjà", "vu"]),
        (normalize("NFD", "déjà vu à Łódź"), ["déjà", "vu", "à", "łódź"]),
        ("नमस्ते, आप कैसे हैं?", ["नमस्ते", "आप", "कैसे", "हैं"]),
        ("السَّلام عليكم", ["السَّلام", "عليكم"]),
        (normalize("NFD", "안녕 세상"), ["안녕", "세상"]),
        ("你好、GPT-4世界。", ["你", "好", "gpt", "4", "世", "界"]),
        ("データを見る", ["デ", "ー", "タ", "を", "見", "る"]),
        (normalize("NFD", "ガラス"), ["ガ", "ラ", "ス"]),
        ("สวัสดี ok", ["ส", "วั", "ส", "ดี", "ok"]),
        ("well ❤️ done", ["well", "done"]),
        ("x² ½ ①", ["x²", "½", "①"]),
        ("", []),
    ],
)
def test_words_keep_their_marks(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize("more", ["é", "你", "क", "❤️", "—", "ก"])
def test_a_passage_has_the_same_words_whatever_comes_with_it(more: str) -> None:
    """There are quicker ways for texts without letters that need care."""
    quick = (*range(0x130), *range(0x131, 0x300), *range(0x2000, 0x20D0), *range(0x2100, 0x2C00))
    passage = "".join(map(chr, quick))  # but for the dotted capital I, which small letters make an i and a mark of
    assert words(f"{passage} {more}")[: len(words(passage))] == words(passage)


def test_runs_of_words() -> None:
    said = words("one two three four")
    assert runs(said, 3) == ["one two three", "two three four"]
    assert runs(said, 5) == []


def test_characters_of_scripts_without_spaces_are_halves_and_thirds_of_words() -> None:
    """Eight of them would be shared by half of what is asked in Japanese or Thai."""
    assert runs(words("一二三四五"), 2) == ["一 二 三 四", "二 三 四 五"]
    assert runs(words("一二三"), 2) == []
    assert runs(words("กขคงจฉช"), 2) == ["ก ข ค ง จ ฉ", "ข ค ง จ ฉ ช"]
    assert runs(words("ก็ขี่คืงจฉ"), 2) == ["ก็ ขี่ คื ง จ ฉ"]
    assert runs(words("use 一二 now 三"), 2) == ["use 一 二", "一 二 now", "二 now 三"]
    shared = "如何在家里安全地保存这些东西不坏"
    assert len(shared) == 16
    assert set(runs(words(f"请问{shared}。"), 8)) & set(runs(words(f"{shared}呢"), 8))
