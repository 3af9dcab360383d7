"""The grammar: what is written is what is read, and whatever cannot be read is refused in one sentence."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from sterna import spec
from sterna.errors import SpecError
from sterna.spec import Call, Choice, Range, method, option


@method
class Sample:
    """A method with one option of every kind."""

    weight: float = option(0.01, "a number", Range(0))
    share: float = option(0.5, "an open interval", Range(0, 1, low_open=True, high_open=True))
    free: float = option(0.0, "any number")
    count: int = option(3, "a whole number", Range(1, 64))
    whole: int = option(0, "any whole number")
    flag: bool = option(False, "true or false")
    shape: str = option("cosine", "a choice", Choice(("cosine", "linear", "two words")))
    text: str = option("", "any text")
    limit: int | None = option(None, "a whole number or none", Range(1))
    blend: float | str = option(1.0, "a number or a word")
    stages: tuple[int, ...] = option((), "whole numbers", Range(0))
    scale: tuple[float, float] = option((0.08, 1.0), "two numbers", Range(0, 1))
    words: tuple[str, ...] = option((), "words")
    grid: tuple[tuple[int, ...], ...] = option((), "lists of whole numbers", Range(0, 9))


@method
class Empty:
    """A method without options."""


NAME = spec.name_of(Sample)  # a method is called what its file is called
ALPHABET = "ab_Z09 .:/-+=,()[]\"'\\\n\tнé漢🐦"
NASTY = ["", " ", "true", "None", "7", "-1.5", "1e5", "nan", "inf", "a\\", '"', "'", 'say "hi"', "a\\nb", "two\nlines"]


def read(text: str) -> Sample:
    """The one object that `text` stands for."""
    (call,) = spec.parse_sum(text)
    assert call.name == NAME
    return spec.make(Sample, call)


def generated(seed: int) -> Sample:
    """A valid object with random values, the awkward ones included."""
    draw = random.Random(seed)
    text = draw.choice(NASTY) if draw.random() < 0.3 else "".join(draw.choices(ALPHABET, k=draw.randrange(12)))
    number = draw.choice([draw.random(), draw.uniform(-1e9, 1e9), 10.0 ** draw.randint(-300, 300), -0.0, 5e-324])
    return Sample(
        weight=abs(number),
        share=draw.uniform(0.001, 0.999),
        free=number,
        count=draw.randint(1, 64),
        whole=draw.choice([0, -1, 2**63 - 1, 1 - 2**63, draw.randint(-(10**12), 10**12)]),
        flag=draw.random() < 0.5,
        shape=draw.choice(["cosine", "linear", "two words"]),
        text=text,
        limit=draw.choice([None, 1, 10**18]),
        blend=draw.choice([number, text]),
        stages=tuple(draw.randrange(100) for _ in range(draw.randrange(4))),
        scale=(draw.random(), draw.random()),
        words=tuple(draw.choice(NASTY) for _ in range(draw.randrange(4))),
        grid=tuple(tuple(draw.randrange(10) for _ in range(draw.randrange(3))) for _ in range(draw.randrange(3))),
    )


def test_repr_reads_back_for_generated_values() -> None:
    for seed in range(2000):
        made = generated(seed)
        back = read(repr(made))
        assert back == made, repr(made)
        assert repr(back) == repr(made)


def test_sum_and_alternatives_read_back() -> None:
    pair = (generated(1), generated(2))
    written = spec.write(pair)
    assert tuple(spec.make(Sample, call) for call in spec.parse_sum(written)) == pair
    alternatives = spec.parse_alternatives(f"{written}, {NAME}")
    assert [len(calls) for calls in alternatives] == [2, 1]


def test_only_moved_options_are_written() -> None:
    assert repr(Sample()) == NAME
    assert repr(Sample(weight=0.01, count=4)) == f"{NAME}(count=4)"
    assert repr(Sample(stages=[1, 2], flag=True)) == f"{NAME}(flag=true, stages=[1, 2])"


def understood(text: str) -> bool:
    """Whether `text` is a specification; anything but a sentence on why not is a bug."""
    try:
        spec.parse_alternatives(text)
    except SpecError:
        return False
    return True


def test_any_text_is_read_or_refused() -> None:
    draw = random.Random(5)
    pieces = ["a", "probe", "=", "(", ")", "[", "]", ",", "+", "1", "-2.5", "1e-3", '"', "'", "\\", " ", "true", "é"]
    texts = ["".join(draw.choices(pieces, k=draw.randrange(1, 7))) for _ in range(5000)]
    read_well = sum(understood(text) for text in texts)
    assert 100 < read_well < 4900


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("+3", 3),
        ("-3", -3),
        ("007", 7),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e-3", 1e-3),
        ("-1.5E+3", -1500.0),
        ("1e999", math.inf),
        ("99999999999999999999", 99999999999999999999),
        ("9" * 5000, math.inf),
        ("true", True),
        ("False", False),
        ("NONE", None),
        ("word", "word"),
        ("timm:resnet50.a1_in1k", "timm:resnet50.a1_in1k"),
        ("hf:org/name-2", "hf:org/name-2"),
        ("1e-3.5", "1e-3.5"),
        ("1.5.2", "1.5.2"),
        ("3rd_net", "3rd_net"),
        ("2024-01-31", "2024-01-31"),
        ("10m", "10m"),
        ("naïve", "naïve"),
        ('"two words"', "two words"),
        ("'single'", "single"),
        ('"it\'s"', "it's"),
        (r'"a \"quoted\" \\ one"', 'a "quoted" \\ one'),
        ('"line\nbreak"', "line\nbreak"),
        ('"backslash\\\nbreak"', "backslash\nbreak"),
        ('""', ""),
        ('"true"', "true"),
        ("[]", ()),
        ("[1, 2.5, x]", (1, 2.5, "x")),
        ("[[1], [2, [3]], []]", ((1,), (2, (3,)), ())),
        ("inner(x=1)", Call("inner", (("x", 1),))),
        ("inner()", Call("inner")),
        ("[a(b=c), d]", (Call("a", (("b", "c"),)), "d")),
    ],
)
def test_value(text: str, value: object) -> None:
    (call,) = spec.parse_sum(f"m(v={text})")
    (pair,) = call.pairs
    assert pair == ("v", value)
    assert type(pair[1]) is type(value)


@pytest.mark.parametrize(
    "text",
    ["a(x=1)+b", " a ( x = 1 ) + b ", "a(x=1)\n+\tb", "a(x=1) + b()", "a(x=+1)+b", "a(x=01) +b"],
)
def test_spaces_do_not_count(text: str) -> None:
    assert spec.parse_sum(text) == (Call("a", (("x", 1),)), Call("b"))


def test_hyphens_are_underscores_in_names() -> None:
    assert spec.parse_sum("cross-entropy(class-weights=balanced)") == (
        Call("cross_entropy", (("class_weights", "balanced"),)),
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "expected a method's name, got the end in ''"),
        ("   ", "expected a method's name, got the end"),
        ("a +", r"expected a method's name, got the end in 'a \+'"),
        ("+ a", r"expected a method's name, got '\+'"),
        ("a + + b", r"expected a method's name, got '\+'"),
        ("5", "expected a method's name, got '5'"),
        ("(a)", r"expected a method's name, got '\('"),
        ('"a"', "expected a method's name, got 'a'"),
        ("a(x=1)b", r"expected the end or '\+', got 'b'"),
        ("a b", r"expected the end or '\+', got 'b'"),
        ("a)", r"expected the end or '\+', got '\)'"),
        ("a, b", r"expected the end or '\+', got ','"),
        ("a(x=1", r"expected ',' or '\)', got the end"),
        ("a(x=1 y=2)", r"expected ',' or '\)', got 'y'"),
        ("a(x=[1, 2)", r"expected ',' or '\]', got '\)'"),
        ("a(x=[1 2])", r"expected ',' or '\]', got '2'"),
        ("a(", "options are written key=value, got the end"),
        ("a(2)", "options are written key=value, got '2'"),
        ("a(x)", "options are written key=value, got 'x'"),
        ("a(x=1,)", r"options are written key=value, got '\)'"),
        ("a(,)", "options are written key=value, got ','"),
        ("a(x=)", r"expected a value, got '\)'"),
        ("a(x==1)", "expected a value, got '='"),
        ("a(x=[1,])", r"expected a value, got '\]'"),
        ("a(x=", "expected a value, got the end"),
        ('a(x="open)', r"cannot read '\"open\)' in"),
        ("a(x=-y)", r"cannot read '-y\)'"),
        ("a; b", "cannot read '; b' in 'a; b'"),
        ("a(x=../b)", r"cannot read '\.\./b\)' in .* quotes around text"),
        ("a(x=" + "[" * 25 + "]" * 25 + ")", "nested 20 deep"),
        ("a(x=" * 30000 + ")" * 30000, "nested 20 deep"),
    ],
)
def test_bad_syntax_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        spec.parse_sum(text)


def test_brackets_may_be_nested_twenty_deep() -> None:
    spec.parse_sum("a(x=" + "[" * 19 + "]" * 19 + ")")
    with pytest.raises(SpecError, match="nested 20 deep, got more in 'a"):
        spec.parse_sum("a(x=" + "[" * 20 + "]" * 20 + ")")


def test_bad_alternatives() -> None:
    for text in ("a,", ",a", "a,,b", "a b, c"):
        with pytest.raises(SpecError, match="expected"):
            spec.parse_alternatives(text)


@pytest.mark.parametrize(
    ("allowed", "inside", "outside", "written"),
    [
        (Range(), [-1e308, 0, 1e308], [True, "1", None], "in (-inf, inf)"),
        (Range(0), [0, 0.0, 10**30], [-1e-12, -1], "in [0, inf)"),
        (Range(0, low_open=True), [1e-300], [0, -1], "in (0, inf)"),
        (Range(0, 1), [0, 1], [1.0000001, -0.1], "in [0, 1]"),
        (Range(0, 1, high_open=True), [0, 0.999999], [1, 1.0], "in [0, 1)"),
        (Range(0, 1, True, True), [0.5], [0, 1], "in (0, 1)"),
        (Range(high=0), [0, -5], [1], "in (-inf, 0]"),
        (Range(1, 123456789), [123456789], [123456790], "in [1, 123456789]"),
        (Choice(("a", "two words", None)), ["a", None], ["b", 1], 'one of a, "two words", none'),
    ],
)
def test_allowed_sets(allowed: Range | Choice, inside: list, outside: list, written: str) -> None:
    assert all(value in allowed for value in inside)
    assert not any(value in allowed for value in outside)
    assert str(allowed) == written


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        ({"weight": -1}, r"weight of test_spec must be in \[0, inf\), got -1"),
        ({"weight": -1e-30}, r"weight of .* must be in \[0, inf\), got -1e-30"),
        ({"weight": math.nan}, "weight of .* must be a number, got nan"),
        ({"weight": math.inf}, "weight of .* must be a number, got inf"),
        ({"weight": 10**400}, "weight of .* must be a number, got a number beyond 64 bits"),
        ({"weight": True}, "weight of .* must be a number, got true"),
        ({"weight": "heavy"}, "weight of .* must be a number, got heavy"),
        ({"weight": None}, "weight of .* must be a number, got none"),
        ({"weight": Call("a", (("b", 1),))}, r"weight of .* must be a number, got a\(b=1\)"),
        (
            {"weight": Sample(count=9, whole=123456789, flag=True)},
            r"weight of .* must be a number, got test_spec\(count=9, whole=123456789, flag=true\)",
        ),
        ({"weight": {"key": "x" * 1000}}, r"weight of .{1,99}$"),
        ({"weight": {1: 2}}, r"weight of .* must be a number, got \{1: 2\}"),
        ({"share": 0}, r"share of .* must be in \(0, 1\), got 0"),
        ({"share": 1.0}, r"share of .* must be in \(0, 1\), got 1.0"),
        ({"count": 2.5}, "count of .* must be a whole number, got 2.5"),
        ({"count": 2.0}, "count of .* must be a whole number, got 2.0"),
        ({"count": True}, "count of .* must be a whole number, got true"),
        ({"count": "3"}, 'count of .* must be a whole number, got "3"'),
        ({"count": 65}, r"count of .* must be in \[1, 64\], got 65"),
        ({"whole": 2**63}, "whole of .* must be a whole number, got a number beyond 64 bits"),
        ({"flag": 1}, "flag of .* must be true or false, got 1"),
        ({"flag": "yes"}, "flag of .* must be true or false, got yes"),
        ({"flag": None}, "flag of .* must be true or false, got none"),
        ({"shape": "sine"}, 'shape of .* must be one of cosine, linear, "two words", got sine'),
        ({"text": 5}, "text of .* must be a word, got 5"),
        ({"text": None}, "text of .* must be a word, got none"),
        ({"limit": 0}, r"limit of .* must be in \[1, inf\), got 0"),
        ({"limit": 1.5}, "limit of .* must be a whole number or none, got 1.5"),
        ({"blend": True}, "blend of .* must be a number or a word, got true"),
        ({"stages": 3}, "stages of .* must be a list of whole numbers, got 3"),
        ({"stages": (1, 2.5)}, r"stages of .* must be a list of whole numbers, got \[1, 2.5\]"),
        ({"stages": (1, -2)}, r"stages of .* must be in \[0, inf\), got \[1, -2\]"),
        ({"scale": (0.1,)}, r"scale of .* must be a list of 2 numbers, got \[0.1\]"),
        ({"scale": (0.1, 0.2, 0.3)}, "scale of .* must be a list of 2 numbers"),
        ({"scale": (0.1, 1.5)}, r"scale of .* must be in \[0, 1\], got \[0.1, 1.5\]"),
        ({"words": ("a", 1)}, r"words of .* must be a list of words, got \[a, 1\]"),
        ({"words": "ab"}, "words of .* must be a list of words, got ab"),
        ({"grid": ((1,), (10,))}, r"grid of .* must be in \[0, 9\], got \[\[1\], \[10\]\]"),
        ({"grid": (1,)}, "grid of .* must be a list of"),
    ],
)
def test_bad_option_is_named(pairs: dict, sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        Sample(**pairs)


def test_bad_option_in_text_is_named() -> None:
    with pytest.raises(SpecError, match=r'weight of .* must be a number, got "1e-3\.5"'):
        read(f"{NAME}(weight=1e-3.5)")


def test_values_take_the_declared_type() -> None:
    made = Sample(weight=1, whole=np.int64(5), free=np.float32(0.5), stages=[1, np.int32(2)], blend=2)
    assert [type(value) for value in (made.weight, made.whole, made.free, made.stages)] == [float, int, float, tuple]
    assert type(made.stages[1]) is int
    assert made.blend == 2.0
    assert hash(made) == hash(read(repr(made)))


def test_unknown_option_gets_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"has no option 'wieght'\. Did you mean 'weight'\? Its options: weight, share"):
        read(f"{NAME}(wieght=1)")
    with pytest.raises(SpecError, match="Did you mean 'weight'"):
        read(f"{NAME}(WEIGHT=1)")
    with pytest.raises(SpecError, match=r"has no option 'zzz'\. Its options"):
        read(f"{NAME}(zzz=1)")
    with pytest.raises(SpecError, match=r"m has no option 'x'\. It has no options\."):
        spec.make(Empty, Call("m", (("x", 1),)))


def test_repeated_option_is_refused() -> None:
    with pytest.raises(SpecError, match=r"option 'count' of .* is given twice; write it once"):
        read(f"{NAME}(count=1, count=2)")


def test_objects_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Sample().weight = 2.0


def test_options_are_declared_once() -> None:
    declared = {item.name: item for item in spec.options(Sample)}
    assert declared["count"] == spec.Option("count", 3, "a whole number", Range(1, 64), int)
    assert spec.type_name(declared["limit"].type) == "a whole number or none"
    assert spec.type_name(declared["scale"].type) == "a list of 2 numbers"
    assert spec.type_name(tuple[int | str, ...]) == "a list of whole numbers or words"
    assert spec.type_name(dict) == "<class 'dict'>"


def test_is_method() -> None:
    assert spec.is_method(Sample)
    assert not spec.is_method(Sample())
    assert not spec.is_method(Range)

    class Child(Sample):
        pass

    assert not spec.is_method(Child)
