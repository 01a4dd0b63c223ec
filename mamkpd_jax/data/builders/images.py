"""Image files, checked while a data set is built."""

from pathlib import Path

from mamkpd_jax.data.functional import DamagedImage, decode_image
from mamkpd_jax.errors import UserError

_TAIL_BYTES = 4096
_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG": b"IEND"}  # how a JPEG and a PNG begin and end


def check_folder(folder: Path, names: list[str]) -> None:
    """Raises UserError if a folder, or one of its images, is not there."""
    if not folder.is_dir():
        raise UserError(f"the image folder {folder} is missing; give the folder of the data set by --config.data.root")
    if absent := [name for name in names if not (folder / name).is_file()]:
        raise UserError(
            f"{folder} lacks {len(absent)} of the {len(names)} annotated images, the first {absent[0]}; "
            "copy the images completely"
        )


def read_image(path: Path, size_hw: tuple[int, int] | None = None) -> tuple[bytes, tuple[int, int]]:
    """An image's bytes, and its height and width, which must be `size_hw` if that is given.

    Raises:
        UserError: the file is cut off, no image, or of another size than the annotations say.
    """
    content = path.read_bytes()
    ends = [end for start, end in _ENDS.items() if content.startswith(start)]
    cut_off = not content or (ends and ends[0] not in content[-_TAIL_BYTES:])
    try:
        height, width = decode_image(b"" if cut_off else content).shape[:2]
    except DamagedImage as error:
        raise UserError(f"{path} is a truncated or damaged image ({len(content)} bytes); copy it again") from error
    if size_hw is not None and (height, width) != size_hw:
        raise UserError(
            f"{path} is {width}x{height} pixels, and the annotations say {size_hw[1]}x{size_hw[0]} (width x height); "
            "give the images that were annotated, unrotated"
        )
    return content, (height, width)
