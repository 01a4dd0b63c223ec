"""How many frames a picture file has."""

import contextlib


def animated_frames(data: bytes) -> int:
    """The number of frames of a GIF, WebP, APNG, AVIF or HEIC file; 1 for any other file, and for a still picture.

    Only the heads of blocks are read, so it takes no time beside decoding.
    """
    with contextlib.suppress(IndexError):  # cut off
        if data[:4] == b"GIF8":
            return max(1, _gif_frames(data))
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return max(1, _webp_frames(data))
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            control = data.find(b"acTL", 0, data.find(b"IDAT"))  # a chunk that only APNG files have
            return 1 if control < 0 else max(1, _number(data, control + 4))
        if data[4:8] == b"ftyp" and data[8:12] in (b"avis", b"msf1", b"hevc"):
            sizes = data.find(b"stsz")  # the box with the size of each frame: version, common size, how many
            return 1 if sizes < 0 else max(1, _number(data, sizes + 12))
    return 1


def _gif_frames(data: bytes) -> int:
    n, at = 0, 13 + _colours(data[10])
    while at < len(data):
        if data[at] == 0x2C:  # an image: place and size, colours, bits of the code
            n += 1
            at += 11 + _colours(data[at + 9])
        elif data[at] == 0x21:  # an extension, by its label
            at += 2
        else:  # the end
            break
        while at < len(data) and data[at]:  # blocks, each behind its length
            at += 1 + data[at]
        at += 1
    return n


def _colours(flags: int) -> int:
    """The bytes of a GIF's colour table."""
    return 3 << (flags % 8 + 1) if flags & 0x80 else 0


def _webp_frames(data: bytes) -> int:
    n, at = 0, 12
    while at < len(data):
        n += data[at : at + 4] == b"ANMF"
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return n


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")
