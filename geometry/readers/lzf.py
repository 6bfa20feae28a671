"""LZF decompression (LibLZF by Marc Lehmann), the codec of PCD's `binary_compressed`.

Written here, because no package that the project needs anyway decompresses it.
"""


def decompress(data: bytes, size: int) -> bytes:
    """`size` bytes from an LZF stream. Raises ValueError where the stream does not hold exactly that many.

    A control byte below 32 announces that many literals plus one; any other a copy of earlier output: its upper three bits are
    the length less two (7: a byte more follows), its lower five and the next byte the distance less one.
    """
    out, at, end = bytearray(), 0, len(data)
    try:
        while at < end:
            control = data[at]
            at += 1
            if control < 32:
                out += data[at : at + control + 1]
                at += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += data[at]
                at += 1
            start = len(out) - ((control & 31) << 8) - data[at] - 1
            at += 1
            length += 2
            if start < 0:
                raise ValueError("a copy reaches before the beginning")
            pattern = out[start : start + length]  # shorter, and repeated, where the copy overlaps what it writes
            out += (pattern * (length // len(pattern) + 1))[:length]
            if len(out) > size:
                break
    except IndexError:
        raise ValueError("the stream ends within a copy") from None
    if len(out) != size or at != end:
        raise ValueError(f"the stream holds {len(out)} bytes where {size} are promised")
    return bytes(out)
