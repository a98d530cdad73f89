"""Laws of how params files are read: YAML 1.2's core schema, each key once."""

import math
from pathlib import Path

import pytest

from fedgrid import files

PARAMS = sorted((Path(__file__).parents[1] / "params").glob("*.yaml"))


def value(written):
    """What stands there, in a block, in a list and in braces."""
    (one, (two, *_), three) = (
        files.parsed(text)["key"] if text.startswith(("key", "{")) else files.parsed(text)
        for text in (f"key: {written}\n", f"[{written}, 0]", f"{{key: {written} }}")
    )
    assert repr(one) == repr(two) == repr(three)
    return one


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *(("1e-1", 0.1), ("1e12", 1e12), ("1E5", 1e5), (".5", 0.5), ("-1e-3", -0.001), ("+1.5e+3", 1500.0)),
        *(("6.", 6.0), ("6.0221e23", 6.0221e23), ("-.5e1", -5.0), ("0.97", 0.97), ("1e+2", 100.0)),
        *((".inf", math.inf), ("-.inf", -math.inf), ("+.INF", math.inf), (".Inf", math.inf)),
    ],
)
def test_a_number_is_one_however_it_is_written(written, meant):
    assert type(value(written)) is float and value(written) == meant


@pytest.mark.parametrize("written", [".nan", ".NaN", ".NAN"])
def test_not_a_number_is_written_with_a_point(written):
    assert math.isnan(value(written))


@pytest.mark.parametrize(("written", "meant"), [("10", 10), ("-3", -3), ("+7", 7), ("0o17", 15), ("0xff", 255)])
def test_a_whole_number_is_no_fraction(written, meant):
    assert type(value(written)) is int and value(written) == meant


def test_a_leading_zero_makes_no_octal_number():
    assert [value(written) for written in ("010", "08", "-010")] == [10, 8, -10]


@pytest.mark.parametrize(
    "written",
    [
        *("inf", "nan", "yes", "no", "on", "off", "y", "n", "Yes", "OFF"),  # of these, 1.1 has made truths
        *("1:30", "190:20:30.15", "1_000", "0b11", "2020-01-01", "2020-13-45", "="),  # and of these numbers and dates
        *("1e", "e5", "1.5.2", ".", "+", "-.", "0x", "1e5x", "'1e5'", '"0.5"', "+0x1", ".infinity"),
    ],
)
def test_what_the_core_schema_does_not_know_is_a_text(written):
    assert value(written) == written.strip("'\"")


@pytest.mark.parametrize(
    ("written", "meant"),
    [("true", True), ("True", True), ("FALSE", False), ("null", None), ("~", None), ("Null", None)],
)
def test_truths_and_nothing_are_few(written, meant):
    assert value(written) is meant


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("E: 1\nB: 10\nE: 5\n", "line 3: the key 'E' stands in line 1 already"),
        ("cells: {E: 1, B: 10,\n  E: 1}\n", "line 2: the key 'E' stands in line 1 already"),
        ("grid:\n  - {E: 1}\n  - C: 0.1\n    lr: 0.1\n    C: 0.1\n", "line 5: the key 'C' stands in line 3 already"),
        ("5: a\n'5': b\n5: c", "line 3: the key 5 stands in line 1 already"),
        ("a: 1\n? a\n", "line 2: the key 'a' stands in line 1 already"),
    ],
)
def test_a_key_that_stands_twice_is_named_with_its_file_and_line(tmp_path, text, says):
    path = tmp_path / "table9.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        files.mapping(path)
    assert str(caught.value) == f"{path}: {says}; remove one of them"


def test_one_key_in_several_mappings_stands_in_each_once():
    assert files.parsed("a: {E: 1}\nb: {E: 1}\nc: [{E: 1}, {E: 1}]\n")["c"] == [{"E": 1}] * 2


@pytest.mark.parametrize(
    "text",
    [
        *("a: !!int many", "a: !!int [1]", "a: !!bool yes", "a: !!float x", "a: !!null x", "a: !!str {b: c}"),
        *(
            "a: !!timestamp 2020-01-01",
            "a: !!set {b}",
            "a: !!binary aGk=",
            "a: !!python/object:os.system x",
            "a: !mine x",
        ),
        *("a: &a [*a]", "a: &a {b: *a}", "[1, 2]: a", "{b: c}: a", "a: *b", "a: 1\n---\na: 1"),
    ],
)
def test_what_is_no_plain_value_is_refused_by_the_file_s_name_in_one_line(tmp_path, text):
    path = tmp_path / "table9.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        files.mapping(path)
    assert str(caught.value).startswith(f"{path}: not readable as YAML: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("path", PARAMS, ids=lambda path: path.stem)
def test_every_params_file_is_read(path):
    assert files.mapping(path)
