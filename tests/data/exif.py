"""A helper that adds an EXIF orientation to JPEG files."""

import struct


def turned(jpeg: bytes, orientation: int) -> bytes:
    """A copy of a JPEG file with this EXIF orientation: 3 is a half turn, 6 and 8 are quarter turns."""
    tag = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 1) + tag + struct.pack("<I", 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
