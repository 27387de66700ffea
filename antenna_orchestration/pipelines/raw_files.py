"""Develops camera raw files with LibRaw (the extra `raw`). Nothing else imports rawpy."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from antenna_orchestration import errors


def develop(data: bytes, *, max_pixels: int, shrink_to: int | None) -> tuple[NDArray[np.uint8], tuple[int, int]] | None:
    """Pixels (RGB, uint8, height x width x 3) and full size (width, height); None if LibRaw does not know the file.

    White balance is the camera's, rotation is not applied. With `shrink_to` pixels or more left on the longer side at
    half the size, that is what is made, which takes a quarter of the time. Raises `ImageUnusable` if the file is
    damaged or has more than `max_pixels`.
    """
    import rawpy

    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            width, height = raw.sizes.width, raw.sizes.height
            if width * height > max_pixels:
                raise errors.ImageUnusable(f"{width}x{height} pixels, over MAX_PIXELS ({max_pixels})")
            half = shrink_to is not None and max(width, height) // 2 >= shrink_to
            pixels = raw.postprocess(use_camera_wb=True, output_bps=8, user_flip=0, half_size=half)
            if not half:
                height, width = pixels.shape[:2]
            return np.ascontiguousarray(pixels), (width, height)
    except rawpy.LibRawFileUnsupportedError:
        return None
    except rawpy.LibRawUnsufficientMemoryError as error:
        raise MemoryError("to develop a camera raw file") from error
    except rawpy.LibRawError as error:
        reason = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        raise errors.ImageUnusable(f"damaged camera raw: {reason}") from error
