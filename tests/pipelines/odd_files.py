"""Files that Pillow does not write, made by hand: raw photographs, 12-bit TIFFs, PNGs of 16-bit colours."""

from __future__ import annotations

import struct

import cv2
import numpy as np
from numpy.typing import NDArray


def tiff_by_hand(samples: bytes, tags: dict[int, tuple[int, tuple[int, ...]]]) -> bytes:
    """A little-endian TIFF of one strip; tags are given as type (1 byte, 3 short, 4 long) and values."""
    tags = {**tags, 273: (4, (8,)), 279: (4, (len(samples),))}
    directory = 8 + len(samples)
    beyond = directory + 2 + 12 * len(tags) + 4
    entries = further = b""
    for tag, (kind, values) in sorted(tags.items()):
        value = struct.pack(f"<{len(values)}{ {1: 'B', 3: 'H', 4: 'I', 10: 'i'}[kind] }", *values)
        count = len(values) // 2 if kind == 10 else len(values)
        if len(value) > 4:
            offset, further = beyond + len(further), further + value
            value = struct.pack("<I", offset)
        entries += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    return (
        struct.pack("<2sHI", b"II", 42, directory)
        + samples
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
        + further
    )


def dng(width: int = 64, height: int = 48) -> bytes:
    """A raw photograph: a Bayer mosaic in 16 bits that is all green."""
    mosaic = np.zeros((height, width), np.uint16)
    mosaic[0::2, 1::2] = mosaic[1::2, 0::2] = 40_000
    return tiff_by_hand(
        mosaic.tobytes(),
        {
            254: (4, (0,)), 256: (4, (width,)), 257: (4, (height,)), 258: (3, (16,)), 259: (3, (1,)),
            262: (3, (32803,)), 274: (3, (1,)), 277: (3, (1,)), 278: (4, (height,)),
            33421: (3, (2, 2)), 33422: (1, (0, 1, 1, 2)), 50706: (1, (1, 4, 0, 0)),
            50721: (10, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1)),
        },
    )  # fmt: skip


def twelve_bit_tiff(samples: NDArray[np.uint16]) -> bytes:
    """A grey TIFF whose samples take twelve bits each, two in three bytes; of even width."""
    first, second = samples[:, 0::2].astype(int), samples[:, 1::2].astype(int)
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1).astype(np.uint8)
    height, width = samples.shape
    return tiff_by_hand(
        packed.tobytes(),
        {
            256: (4, (width,)), 257: (4, (height,)), 258: (3, (12,)), 259: (3, (1,)), 262: (3, (1,)),
            277: (3, (1,)), 278: (4, (height,)),
        },
    )  # fmt: skip


def deep_png(rgb: NDArray[np.uint16]) -> bytes:
    """A PNG with colours in 16 bits each."""
    return bytes(cv2.imencode(".png", rgb[:, :, ::-1])[1])
