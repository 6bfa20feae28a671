"""Texts that came from elsewhere (names of files, what is said of them), made fit for a file and for a terminal."""


def utf8(text: str) -> str:
    """`text` with every byte of it that is not UTF-8 as `\\xe9`: Python holds such bytes of file names as lone surrogates, which
    no file can be written with."""
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        data = text.encode("utf-8", "surrogatepass")
    return data.decode("utf-8", "backslashreplace")


def printable(text: str, keep: str = "") -> str:
    """`text` in one line that does nothing to a terminal: control characters, line ends, marks that turn the direction of writing
    and the like as `\\x1b`; those in `keep` stay."""
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode("ascii") for char in utf8(text)
    )
