"""The columns of plain results files: equal to what msgspec decodes, or left to it, whatever is in the file."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datasets import result_columns, result_reading
from datasets.errors import DataError
from datasets.result_records import DetectionJson, as_results
from datasets.results import Results, write

RECORDS: list[dict[str, Any]] = [
    {"image_id": 1, "category_id": 19, "bbox": [384.58, 58.39, 88.45, 30.91], "score": 0.018738},
    {"image_id": 12345678, "category_id": 0, "bbox": [0.0, 1.5, 99999999.5, 0.00000001], "score": 1.0},
    {"image_id": 0, "category_id": 7, "bbox": [10.25, 0.125, 3.0, 12345.678901], "score": 0.0},
]
FIELDS = Results.__struct_fields__


def spelled(records: Any = RECORDS, item: str = ", ", key: str = ": ") -> bytes:
    # json would write 1e-08.
    return json.dumps(records, separators=(item, key)).replace("1e-08", "0.00000001").encode()


def columns(data: bytes) -> Results | None:
    return result_columns.read(io.BytesIO(data))


def decoded(data: bytes) -> Results:
    """The oracle: a parser that makes an object of each record."""
    return as_results(msgspec.json.decode(data, type=list[DetectionJson]))


def assert_equal(found: Results | None, expected: Results) -> None:
    assert found is not None
    for name in FIELDS:
        mine, theirs = getattr(found, name), getattr(expected, name)
        assert np.array_equal(mine, theirs), name
        assert getattr(mine, "dtype", None) == getattr(theirs, "dtype", None), name


@pytest.fixture(autouse=True, scope="module")
def _small_blocks() -> Iterator[None]:
    """A block for each record or two; the longest one below fits, with the brace of the next."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result_columns, "BLOCK", 200)
        yield


@pytest.mark.parametrize("keys", list(permutations(RECORDS[0])))
@pytest.mark.parametrize(("item", "key"), [(", ", ": "), (",", ":"), (",\n", " :\t")])
def test_any_order_of_keys_and_any_spaces_are_read(keys: tuple[str, ...], item: str, key: str) -> None:
    data = spelled([{name: record[name] for name in keys} for record in RECORDS], item, key)

    assert_equal(columns(data), decoded(data))


def test_what_write_writes_is_read(tmp_path: Path) -> None:
    expected = decoded(spelled())
    write(tmp_path / "written.json", expected)

    assert_equal(columns((tmp_path / "written.json").read_bytes()), expected)


@pytest.mark.parametrize(
    "number", ["1e-05", "1E2", "7", "0.12345678901234567", "123456789.5", "99999999.99999999", "-3.5", "-0.0"]
)
def test_a_block_with_other_numbers_is_decoded_by_itself(number: str) -> None:
    data = spelled(RECORDS * 5).replace(b"10.25", number.encode(), 1)

    assert_equal(columns(data), decoded(data))


@pytest.mark.parametrize("extra", ['"segmentation": [[1, 2]], ', '"area": 5, "note": "7", ', '"image_id": 3, '])
def test_a_record_with_another_key_is_decoded_or_left(extra: str) -> None:
    data = spelled(RECORDS * 5).replace(b'"category_id": 0', f'{extra}"category_id": 0'.encode(), 1)
    found = columns(data)

    if found is not None:
        assert_equal(found, decoded(data))
    assert (found is None) == ("segmentation" in extra)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        spelled(RECORDS[:1]),
        b"\xef\xbb\xbf" + spelled(),
        spelled()[:-1],
        spelled()[1:],
        spelled() + b"]",
        spelled().replace(b"}, {", b"} {"),
        spelled().replace(b"}, {", b"},, {"),
        spelled().replace(b"}, {", b"}, {", 1).replace(b"384.58", b"0384.58"),
        spelled().replace(b"0.018738", b"1.018738"),
        spelled().replace(b"12345678,", b"01,"),
        spelled().replace(b'"image_id": 0', b'"image0_id": '),
        spelled().replace(b'"score": 0.0}', b'"score": 0.0\x0b}'),
    ],
)
def test_any_other_file_is_left_to_the_caller(data: bytes) -> None:
    assert columns(data) is None


@pytest.mark.parametrize(
    "extra", ['"area": 5, ', '"a1": 5, ', '"score": 0.25, ', '"": 7, ', '"\\ud800": 7, ', '"é": 7, ']
)
def test_a_file_with_a_key_too_many_in_every_record_is_left_to_the_caller(extra: str) -> None:
    assert columns(spelled().replace(b"{", b"{" + extra.encode())) is None
    # Nor is it read where only some have it.
    mixed = spelled().replace(b"{", b"{" + extra.encode(), 1)
    assert columns(mixed) is None


# Digits before and after the point, of which some are too many to be read at once.
digits = st.from_regex(r"(0|[1-9][0-9]{0,9})\.[0-9]{1,9}", fullmatch=True)
shares = st.from_regex(r"0\.[0-9]{1,9}|1\.0{1,3}", fullmatch=True)
ids = st.integers(0, 10**9).map(str)
PLAIN = '{{"image_id": {}, "category_id": {}, "bbox": [{}, {}, {}, {}], "score": {}}}'
plain = st.lists(st.builds(PLAIN.format, ids, ids, digits, digits, digits, digits, shares), min_size=2, max_size=8)
files = plain.map(lambda records: f"[{', '.join(records)}]".encode())
LONGEST = f"[{', '.join([PLAIN.format(10**9, 10**9, *['9876543210.123456789'] * 4, '0.123456789')] * 2)}]".encode()


@example(LONGEST)
@given(files)
def test_every_plain_number_is_read_to_the_last_bit(data: bytes) -> None:
    assert_equal(columns(data), decoded(data))


# Values that JSON spells in other ways, or that results may not have, and keys that are none of COCO's.
ODD = [
    *("1e-05", "2.5E+1", "1.5e400", "5e-324", "-3.5", "-0.0", "-7", "7", "0", "1.0", "007.5", "1.", ".5", "NaN"),
    *("0.1234567890123456789", "123456789.0", "9007199254740993", "9007199254740992.0", '"7"', "null", "[]", "true"),
]
EXTRA = [
    "",
    "",
    '"area": 12.5, ',
    '"area": 12, ',
    '"image_id": 4, ',
    '"note": "}, {", ',
    '"a": [{"image_id": 1}, {}], ',
]
EXTRA += ['"segmentation": [[1.5, 2]], ', '"segmentation": [{"score": 0.5}, {"score": 1.5}], ', '"\\u0073core": 0.25, ']


@st.composite
def oddly_spelled(draw: st.DrawFn) -> bytes:
    """Plain records, of which a value or two are odd, or which have a key too many."""
    records = draw(plain)
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(records) - 1))
        numbers = list(re.finditer(r"[-0-9.]+", records[at]))
        start, end = draw(st.sampled_from(numbers)).span() if numbers else (1, 1)
        records[at] = records[at][:start] + draw(st.sampled_from(ODD)) + records[at][end:]
        records[at] = "{" + draw(st.sampled_from(EXTRA)) + records[at][1:]
    if draw(st.booleans()):
        in_all = draw(st.sampled_from(EXTRA))
        records = ["{" + in_all + record[1:] for record in records]
    separator = draw(st.sampled_from([", ", ",", ",\n"]))
    return f"[{separator.join(records)}]".encode()


# What is put in at any place, with or without something taken out there.
PIECES = [
    *(b"e5", b"1e-05", b"E+2", b"-", b"0", b"00", b".", b"/", b"123456789", b"NaN", b"null", b"true", b"Infinity"),
    *(b"{", b"}", b"[", b"]", b"}, {", b"], [", b'"', b",", b", ", b":", b" ", b"\n", b"\x0b", b"\x00", b"\\u0031"),
    *(b"\xff", b"\xef\xbb\xbf", "é".encode(), b"9007199254740993", b"-7", b"1.0", b'"7"', b'"7.jpg"'),
    *(b'"score": 0.5, ', b', "score": 2.5', b', "area": 7.5', b', "segmentation": [[1.5, 2.5]]'),
    *(b', "segmentation": [{"image_id": 1}, {"image_id": 2}]', b', "note": "}, {"', b'"bbox": [], ', b""),
]


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    data = draw(files)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        removed = draw(st.sampled_from([0, 0, 1, 2, 5, 30, 10**6]))
        data = data[:at] + draw(st.sampled_from(PIECES)) + data[at + removed :]
    return data


def outcome(path: Path, read: Callable[[Path], Results]) -> Results | str:
    try:
        return read(path)
    except DataError as error:
        return f"{error} {error.problems} {error.advice}"


@pytest.mark.parametrize("read", [result_reading.read, result_reading.read_strictly])
@given(data=st.one_of(oddly_spelled(), mutants(), st.binary()))
def test_no_file_is_read_differently_than_by_the_parser(
    data: bytes, read: Callable[[Path], Results], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "results.json"
    path.write_bytes(data)
    found = outcome(path, read)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result_columns, "read", lambda _: None)
        expected = outcome(path, read)

    if isinstance(expected, str):
        assert found == expected
    else:
        assert isinstance(found, Results), found
        assert_equal(found, expected)
