"""Makes the pictures of the model card. They are drawn, because we may not publish the real photographs.

python -m training.pictures [--folder docs/pictures]
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from PIL import Image

from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.pipelines import interface, pictures, registry
from antenna_orchestration.pipelines.interface import RawImage
from antenna_orchestration.synthetic import captures
from training import scenes
from training.train_detector import REPOSITORY

SCENES = (900_001, 900_004, 900_005, 900_007, 900_010, 900_012)
"""Seeds of scenes that were not used for training."""

EASY, HARD = (910_002, 40), (900_020, 900_023, 900_026, 900_031)


def main() -> None:
    """Write all three pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "docs" / "pictures")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    pipeline = interface.build(registry.get(registry.DEFAULT_PIPELINE, ()), {})
    pipeline.load("cpu")

    def found(data: bytes) -> list[Detection]:
        prepared = pipeline.prepare(RawImage(image=0, uri="", data=data))
        return pipeline.finish(prepared, pipeline.infer([prepared])[0]).detections

    drawn = [as_jpeg(Image.fromarray(scenes.draw_scene(seed).pixels)) for seed in SCENES]
    (folder / "drawn-scenes.jpg").write_bytes(_side_by_side(drawn, 3))
    data, _ = captures.draw_capture(EASY[0], 2400, 1350, insects=EASY[1])
    (folder / "found.jpg").write_bytes(pictures.draw_boxes(data, found(data), 1200))
    hard = [as_jpeg(Image.fromarray(scenes.draw_scene(seed, 640).pixels)) for seed in HARD]
    (folder / "found-hard.jpg").write_bytes(
        _side_by_side([pictures.draw_boxes(picture, found(picture), 640) for picture in hard], 2)
    )


def as_jpeg(picture: Image.Image) -> bytes:
    """The picture as a file."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=92)
    return stream.getvalue()


def _side_by_side(jpegs: list[bytes], columns: int) -> bytes:
    opened = [Image.open(io.BytesIO(jpeg)) for jpeg in jpegs]
    width, height = opened[0].size
    sheet = Image.new("RGB", (columns * width, -(-len(opened) // columns) * height))
    for index, picture in enumerate(opened):
        sheet.paste(picture, ((index % columns) * width, (index // columns) * height))
    sheet.thumbnail((1200, 1200))
    return pictures.draw_boxes(as_jpeg(sheet), [], 1200)


if __name__ == "__main__":
    main()
