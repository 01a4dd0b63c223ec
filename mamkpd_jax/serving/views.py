"""Pictures for the page, as data URLs."""

import base64

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from mamkpd_jax.visualize import overlay_heatmap

_HEIGHT_PX = 320  # of a crop under its heatmap


def shown_picture(data: bytes, image: UInt8[np.ndarray, "h w 3"]) -> str | None:
    """The picture as JPEG if browsers don't show its format, such as TIFF, HEIC and JPEG 2000; else None."""
    jpeg, png, gif, bmp = b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM"
    is_webp, is_avif = data[:4] == b"RIFF" and data[8:12] == b"WEBP", data[4:12] == b"ftypavif"
    return None if data.startswith((jpeg, png, gif, bmp)) or is_webp or is_avif else _data_url(image)


def heatmap_views(crop: UInt8[np.ndarray, "h w 3"], heatmaps: Float[np.ndarray, "h2 w2 j"]) -> list[str]:
    """The crop under the heatmaps of all keypoints, then under each keypoint's."""
    scale = _HEIGHT_PX / crop.shape[0]
    view = cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    shown = [heatmaps.max(axis=-1), *np.moveaxis(heatmaps, -1, 0)]
    return [_data_url(overlay_heatmap(view, np.ascontiguousarray(heatmap))) for heatmap in shown]


def _data_url(image: UInt8[np.ndarray, "h w 3"]) -> str:
    jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}"
