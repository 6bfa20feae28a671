"""Names of any bytes are fit for files and terminals; a command ends with a code and one line, whatever happens."""

import os
import pathlib
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geometry.errors import ConfigError
from geometry.settings.commands import exit_code
from geometry.settings.printing import printable, utf8


@pytest.mark.parametrize(
    "text, written, shown",
    [
        ("Ännä 脸 😀.ply", "Ännä 脸 😀.ply", "Ännä 脸 😀.ply"),
        (os.fsdecode(b"caf\xe9.ply"), "caf\\xe9.ply", "caf\\xe9.ply"),
        ("\x1b[31mred", "\x1b[31mred", "\\x1b[31mred"),
        ("a\nforged", "a\nforged", "a\\nforged"),
        ("\x9b31mred\x07", "\x9b31mred\x07", "\\x9b31mred\\x07"),  # the control characters of eight bits
        ("a\u202egnp.ply", "a\u202egnp.ply", "a\\u202egnp.ply"),  # turns the direction of writing
        ("\ud800", "\\xed\\xa0\\x80", "\\xed\\xa0\\x80"),
    ],
)
def test_what_a_name_is_written_and_shown_as(text, written, shown):
    assert utf8(text) == written and printable(text) == shown
    assert printable("a\nb", keep="\n") == "a\nb"


@given(st.one_of(st.binary().map(os.fsdecode), st.text(st.characters())))
def test_every_name_is_written_as_utf8_and_shown_on_one_line(text):
    assert utf8(text).encode("utf-8") is not None
    assert printable(text).isprintable() and len(printable(text).splitlines()) <= 1


def raising(error):
    def work():
        raise error

    return work


def test_an_unexpected_error_is_one_line_that_names_the_file_with_its_traceback(capsys):
    assert exit_code("prog", raising(ValueError("of \x1b[31m\nsome kind"))) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "unexpected error: ValueError: of \\x1b[31m\\nsome kind" in told and "Traceback" not in told
    file = pathlib.Path(told.split()[-1])
    assert "Traceback" in file.read_text() and "of \x1b[31m" in file.read_text()
    file.unlink()


def test_an_expected_error_is_one_line_with_nothing_that_a_terminal_obeys(capsys):
    assert exit_code("prog", raising(ConfigError("--input \x1b[31m\nx"))) == 2
    assert capsys.readouterr().err == "prog: error: --input \\x1b[31m\\nx\n"


def test_interrupted_is_130_and_a_result_is_passed_on():
    assert exit_code("prog", raising(KeyboardInterrupt())) == 130 and exit_code("prog", lambda: 3) == 3


def test_a_terminal_that_lacks_characters_ends_nothing(monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert exit_code("prog", lambda: print("… Ännä") or 0) == 0
