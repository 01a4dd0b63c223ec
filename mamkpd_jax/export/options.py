"""What an exported model does besides the network."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Parts around the network that go into the exported model."""

    normalize: bool = False  # uint8 RGB images [b, h, w, 3] as input, not normalised ones
    flip_test: bool = False  # heatmaps averaged with those of the mirrored image
    decode: bool = False  # points in pixels of the image and scores as output, not heatmaps
