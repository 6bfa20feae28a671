"""Texts as editors and old programs save them: byte order marks, UTF-16, UTF-32, line ends of carriage returns alone."""

import codecs

_MARKS = (  # the longer first: UTF-32's little-endian mark begins as UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BINARY_STL = 84  # bytes of its header and count
_WINDOW = 64  # bytes at which an unmarked text is looked at, at its beginning, middle and end
_PLAIN = bytes(range(32, 127)) + b"\t\r\n"


def plain_text(data: bytes) -> bytes:
    """The same bytes without a byte order mark, those of a text in UTF-16 or UTF-32 as UTF-8; anything else as it is.

    UTF-16 without a mark is told by its zeros: of a text in ASCII every second byte is one. What was cut off within a character
    ends with U+FFFD."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            if encoding == "utf-8":
                return data[len(mark) :] if _is_utf8(data) else data
            if _is_text(data[len(mark) :], encoding):
                return data[len(mark) :].decode(encoding, "replace").encode("utf-8", "replace")
            return data
    encoding = _unmarked(data)
    return data if encoding is None else data.decode(encoding, "replace").encode("utf-8", "replace")


def with_line_feeds(text: bytes) -> bytes:
    """The text whose lines end in carriage returns alone, as on the first Macs, with line feeds; any other as it is."""
    return text if b"\n" in text else text.replace(b"\r", b"\n")


def _is_utf8(data: bytes) -> bool:
    """Whether bytes that begin with UTF-8's mark are a text, or have one before their numbers, and not a binary STL whose header
    begins with it, all of which would be shifted without it: its count of facets, or what fills its header, has a zero."""
    promised = _BINARY_STL + 50 * int.from_bytes(data[_BINARY_STL - 4 : _BINARY_STL], "little")
    return b"\0" not in data[:_BINARY_STL] and len(data) != promised


def _is_text(data: bytes, encoding: str) -> bool:
    """Whether the first characters are mostly ASCII that prints: what a mark's two bytes begin may be binary, too."""
    characters = data[: 4 * _WINDOW].decode(encoding, "replace")
    return sum(c in "\t\r\n" or " " <= c <= "~" for c in characters) > len(characters) / 2


def _unmarked(data: bytes) -> str | None:
    if len(data) < 8 or (data[0] == 0) == (data[1] == 0):
        return None
    zero_first = data[0] == 0
    for at in (0, len(data) // 4 * 2, max(0, len(data) // 2 * 2 - _WINDOW)):
        window = data[at : at + _WINDOW]
        zeros, letters = (window[::2], window[1::2]) if zero_first else (window[1::2], window[::2])
        if any(zeros) or letters.translate(None, _PLAIN):
            return None
    return "utf-16-be" if zero_first else "utf-16-le"
