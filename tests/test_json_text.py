from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from lungvae_core.errors import UserError
from lungvae_core.files import read_bytes, read_json
from lungvae_core.json_text import MOST_VALUES, parse_json
from tests.conftest import ROOT

BAD = {
    "empty": b"",
    "cut": b'{"a": [1, 2',
    "deep": b"[" * 100_000,
    "deep and closed": b"[" * 100_000 + b"]" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "long integer": b"1" * 5_000,
    "integer of 400 digits": b'{"a": ' + b"9" * 400 + b"}",
    "integer of 65 bits": b"18446744073709551616",
    "large number": b"[1e400]",
    "large negative number": b"-1e999",
    "NaN": b"NaN",
    "infinity": b'{"a": -Infinity}',
    "lone surrogate": b'{"title": "\\ud800"}',
    "lone surrogate as key": b'{"\\udfff": 1}',
    "surrogate in UTF-8": b'"\xed\xa0\x80"',
    "null character": b'{"title": "a\\u0000b"}',
    "escape character": b'"\\u001b[31m"',
    "null byte": b'{"title": "a\x00b"}',
    "delete character": b'"\x7f"',
    "C1 control": '"\x85"'.encode(),
    "key twice": b'{"a": 1, "a": 2}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "Latin-1": '"é"'.encode("latin-1"),
    "two values": b"{} {}",
    "comment": b"{} // no",
    "many values": b"[" + b"0," * (MOST_VALUES + 1) + b"0]",
    "many lists": b"[" + b"[]," * (MOST_VALUES // 2 + 1) + b"[]]",
    "long key twice": b'{"%s": 1, "%s": 2}' % ((b"a" * 5_000,) * 2),
    "too long": b'"' + b"a" * (16 << 20) + b'"',
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_what_would_hurt_a_reader_is_refused_in_a_sentence(content: bytes, tmp_path: Path):
    with pytest.raises(UserError, match=r"The file cannot be read: .+\.$") as refused:
        parse_json(content, what="The file")
    assert len(str(refused.value).encode()) < 500
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=r"The file.* cannot be read"):
        read_json(tmp_path / "a.json", what="The file")


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"a": [1, -(2**63) + 1, 2**63 - 1, 0.1, 1.7976931348623157e308, 5e-324, True]},
        "text of any language: ä 中 😀\n\t",
        {"": "", "hash": "1" * 64},
        [[[[1.2345678901234567e-05, 0.00012345678901234567]]]],
    ],
)
def test_what_is_sound_is_read_as_it_was(value: object):
    assert parse_json(json.dumps(value), what="It") == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode(), what="It") == value


def test_text_with_lone_surrogates_is_no_json():
    with pytest.raises(UserError):
        parse_json('"\ud800"', what="It")


def test_only_ordinary_files_are_read_and_none_is_waited_for(tmp_path: Path):
    import os

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 1 << 40)
    for name in ("pipe", "folder", "circle", "dangling", "sparse", "absent", "a" * 300, "nu\0ll"):
        with pytest.raises(UserError, match=r"It (is missing|cannot be read)"):
            read_bytes(tmp_path / name, what="It")
    for device in ("/dev/zero", "/dev/full", "/dev/tty"):
        with pytest.raises(UserError):
            read_bytes(Path(device), what="It")


def test_nothing_else_reads_json():
    """Every JSON that enters goes through `parse_json`: no other parser is named in the product."""
    others = {
        "load",
        "loads",
        "model_validate_json",
        "validate_json",
        "from_json",
        "read_json",
        "JSONDecoder",
    }
    libraries = {"jiter", "orjson", "ujson", "simplejson", "pydantic_core"}
    paths = [*(ROOT / "lungvae_core").rglob("*.py"), *(ROOT / "pages").rglob("*.py"), ROOT / "app.py"]
    assert len(paths) > 150
    for path in paths:
        if path.name == "json_text.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not names & libraries, path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                foreign = node.value.id in ("json", "pd", "pandas") and node.attr in others
                assert not foreign, f"{path}:{node.lineno} reads JSON by itself; use json_text.parse_json"
            if isinstance(node, ast.Attribute) and node.attr.endswith("validate_json"):
                raise AssertionError(f"{path}:{node.lineno} reads JSON by itself; use json_text.parse_json")
