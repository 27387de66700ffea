"""Draws cards: folders, lists, URLs and buckets as people have them, with the right answer known by construction.

A card has some shapes, each of which adds files and says what must become of them. `AWAITED` names the shapes whose
right answer the system does not give yet; empty it as it learns them. What cannot be drawn in an ordinary folder (a
share that is mounted read-only, a disk that is full) has tests of its own.
"""

from __future__ import annotations

import functools
import io
import os
import random
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final
from urllib.parse import quote, unquote

import fsspec
from PIL import Image

DONE: Final = "done"
FAILED: Final = "failed"
WITHHELD: Final = "withheld"
"""Whoever loads it is refused, or finds no host or folder: it fails, too, but only after some deliveries."""

AWAITED: Final[frozenset[str]] = frozenset()
"""Shapes that are drawn on request only."""

BUCKET: Final = "cards"

A_NIGHT: Final = 86_400
"""Seconds between a card and the next one in its slot. Within two, a file of the same size is taken to be unchanged."""

_UNKNOWN_HOST: Final = "http://camera.invalid"
# Nothing listens at the port for discarded bytes.
_SILENT_HOST: Final = "http://127.0.0.1:9"


@dataclass(kw_only=True)
class Places:
    """Where a card's photographs can be put besides folders."""

    # Serves the folder of all cards.
    web: str
    # An S3 store with the bucket `BUCKET`.
    endpoint: str


@dataclass(kw_only=True)
class Card:
    """What somebody names, and what must become of each photograph."""

    number: int
    folder: Path
    random: random.Random
    sources: list[str] = field(default_factory=list)
    # By the last part of the name, which is unique among all cards.
    expected: dict[str, str] = field(default_factory=dict)
    # The next card in the same slot, under the same names: its folders, files and what must become of them.
    next_sources: list[str] = field(default_factory=list)
    next_files: dict[Path, tuple[bytes, str]] = field(default_factory=dict)
    shapes: list[str] = field(default_factory=list)

    def name(self, ending: str = ".jpg") -> str:
        """A new file name, with a time stamp or without, in some spelling."""
        unique = f"{self.number}x{len(self.expected)}"
        month, day, minute = (self.random.randint(1, most) for most in (12, 28, 59))
        spelling = self.random.choice(
            [
                f"2026{month:02}{day:02}03{minute:02}00-{unique}", f"IMG_{unique}", f"DSCF {unique} (1)",
                f"K\u00e4fer {unique}", f"\u86fe_{unique}", unicodedata.normalize("NFD", f"\u00e9t\u00e9 {unique}"),
                f"50% {unique}", f"a#b?{unique}", f"'{unique}'", f"trap[1]{unique}", f"-{unique}", f"a%20b {unique}",
                f"x;y,z&{unique}", f"{unique}.JPG.{unique}",
            ]
        )  # fmt: skip
        return spelling + self.random.choice([ending, ending.upper()])

    def add(self, folder: Path, data: bytes, becomes: str | None, ending: str = ".jpg") -> Path:
        """Write a file; `becomes` is None for what is not a photograph."""
        name = self.name(ending)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        if becomes is not None:
            self.expected[name] = becomes
        else:
            # Names stay unique.
            self.expected.setdefault(f"none {len(self.expected)}", "")
        return folder / name

    def loads(self) -> dict[str, str]:
        """What must come of loading each photograph once, by its name."""
        return {name: becomes for name, becomes in self.expected.items() if becomes}

    def outcomes(self) -> dict[str, str]:
        """What must become of each photograph in the end."""
        return {name: DONE if becomes == DONE else FAILED for name, becomes in self.loads().items()}

    def insert_next(self) -> dict[str, str]:
        """Put the next card into the slot; what must become of its photographs."""
        for file, (data, _) in self.next_files.items():
            taken = file.stat().st_mtime + A_NIGHT
            file.write_bytes(data)
            os.utime(file, (taken, taken))
        return {file.name: becomes for file, (_, becomes) in self.next_files.items()}


@functools.cache
def photograph(kind: str = "plain") -> bytes:
    """A small photograph that can be read, of some kind."""
    return another_photograph(kind)


def another_photograph(kind: str) -> bytes:
    """One of the same kind with other bytes."""
    mode = {"grey": "L", "cmyk": "CMYK", "palette": "P", "transparent": "RGBA"}.get(kind, "RGB")
    size = (1, 40) if kind == "thin" else (40, 30)
    image = Image.effect_noise(size, 60).convert("RGB").convert(mode)
    form = {"palette": "PNG", "transparent": "PNG", "tiff": "TIFF", "webp": "WEBP", "bmp": "BMP"}.get(kind, "JPEG")
    stream = io.BytesIO()
    image.save(stream, form)
    data = stream.getvalue()
    return data[:-2] if kind == "unended" else data


GOOD: Final = {
    "plain": ".jpg", "grey": ".jpeg", "cmyk": ".jpg", "thin": ".jpg", "unended": ".jpg", "palette": ".png",
    "transparent": ".png", "tiff": ".tif", "webp": ".webp", "bmp": ".bmp",
}  # fmt: skip


def broken(chance: random.Random) -> bytes:
    """A file that is not a photograph although its name says so."""
    whole = photograph()
    return chance.choice(
        [whole[: len(whole) // 2], b"<!DOCTYPE html><html>log in</html>", bytes(5000), b"no photograph", whole[:15]]
    )


def good_files(card: Card, folder: Path, most: int = 5) -> list[Path]:
    """Some photographs that can be read."""
    kinds = card.random.choices(list(GOOD), k=card.random.randint(1, most))
    return [card.add(folder, photograph(kind), DONE, GOOD[kind]) for kind in kinds]


def nights(card: Card, places: Places) -> None:
    """A folder with a folder per night, and some broken files among the good."""
    root = card.folder / card.random.choice(["card", "my card #1", "K\u00e4fer", "100%", "a [b]"])
    for night in range(card.random.randint(1, 3)):
        inner = root / card.random.choice(["", "DCIM/100MEDIA"]) / f"2026-06-{night + 1:02}"
        good_files(card, inner)
        if card.random.random() < 0.4:
            card.add(inner, broken(card.random), FAILED)
    card.sources.append(str(root))


def other_files(card: Card, places: Places) -> None:
    """Photographs among files that are none."""
    root = card.folder / "mixed"
    good_files(card, root)
    others = ["notes.md", "video.mp4", "Thumbs.db", ".hidden.jpg", "._a.jpg", "old.x3f", "a.ini"]
    for name in card.random.sample(others, 3):
        (root / name).write_bytes(photograph())
    (root / ".thumbs").mkdir()
    (root / ".thumbs" / "small.jpg").write_bytes(photograph())
    card.sources.append(str(root))


def patterns(card: Card, places: Places) -> None:
    """A pattern over folders, of which one is not meant."""
    root = card.folder / "sites"
    for site in ("trap-1", "trap-2"):
        good_files(card, root / site, 3)
    good = photograph()
    (root / "test").mkdir()
    (root / "test" / "not-meant.jpg").write_bytes(good)
    card.sources.append(f"{root}/trap-*")


def named_twice(card: Card, places: Places) -> None:
    """A folder, and some of its files once more."""
    root = card.folder / "twice"
    files = good_files(card, root)
    card.sources += [str(root), str(card.random.choice(files)), str(root)]


def lists(card: Card, places: Places) -> None:
    """A list of paths beside it, of which some do not exist."""
    root = card.folder / "listed"
    files = good_files(card, root)
    files.append(card.add(root, broken(card.random), FAILED))
    gone = card.name()
    card.expected[gone] = FAILED
    rows = [*(str(file.relative_to(root)) for file in files), gone]
    if card.random.random() < 0.5:
        text = "\n".join(rows)
        target = root / "photographs.txt"
    else:
        quoted = (row.replace('"', '""') for row in rows)
        text = "path,deployment\n" + "".join(f'"{row}",pond\n' for row in quoted)
        target = root / "photographs.csv"
    target.write_text(f"{text}\n", encoding=card.random.choice(["utf-8", "utf-8-sig"]))
    card.sources.append(str(target))


def urls(card: Card, places: Places) -> None:
    """A list of URLs, some quoted, some not, some of nothing."""
    root = card.folder / "web"
    rows = []
    for file in [*good_files(card, root), card.add(root, broken(card.random), FAILED)]:
        path = file.relative_to(card.folder.parent).as_posix()
        # Characters that end a path have to be quoted by whoever writes the URL; others need not.
        partly = "".join(quote(one) if one in "?#%" else one for one in path)
        rows.append(f"{places.web}/{card.random.choice([quote(path), partly])}")
    gone = card.name()
    card.expected[gone] = FAILED
    rows.append(f"{places.web}/{quote(gone)}")
    target = card.folder / "urls.csv"
    target.write_text("url\n" + "".join(f'"{row}"\n' for row in rows))
    card.sources.append(str(target))


def bucket(card: Card, places: Places) -> None:
    """A prefix, a pattern or single keys of a bucket."""
    store = fsspec.filesystem("s3", endpoint_url=places.endpoint, skip_instance_cache=True)
    prefix = f"card {card.number}"
    above = card.folder / "to upload"
    for file in [*good_files(card, above), card.add(above, broken(card.random), FAILED)]:
        store.call_s3("put_object", Bucket=BUCKET, Key=f"{prefix}/night-1/{file.name}", Body=file.read_bytes())
    store.call_s3("put_object", Bucket=BUCKET, Key=f"{prefix}/night-1/", Body=b"")
    store.call_s3("put_object", Bucket=BUCKET, Key=f"{prefix}/night-1/notes.md", Body=b"x")
    card.sources.append(card.random.choice([f"s3://{BUCKET}/{prefix}", f"s3://{BUCKET}/{prefix}/night-*"]))


def junk_folders(card: Card, places: Places) -> None:
    """Thumbnails and deleted photographs of NAS systems beside the photographs."""
    root = card.folder / "nas"
    good_files(card, root)
    for name in ("@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information"):
        card.add(root / name, photograph(), None)
    card.sources.append(str(root))


def links(card: Card, places: Places) -> None:
    """Names that are links to files with names of their own, as git-annex leaves them."""
    root = card.folder / "annex"
    for index, file in enumerate(good_files(card, card.folder / ".objects")):
        name = f"link{index} {card.number}.jpg"
        root.mkdir(exist_ok=True)
        (root / name).symlink_to(file)
        card.expected[name] = card.expected.pop(file.name)
    card.sources.append(str(root))


def empty_files(card: Card, places: Places) -> None:
    """Photographs of no bytes, which are left out."""
    root = card.folder / "empty"
    good_files(card, root)
    card.add(root, b"", None)
    card.sources.append(str(root))


def missing_folders(card: Card, places: Places) -> None:
    """A list with a path in a folder that does not exist."""
    root = card.folder / "moved"
    good = good_files(card, root)
    gone = card.name()
    card.expected[gone] = WITHHELD
    (root / "list.txt").write_text("\n".join([*(file.name for file in good), f"elsewhere/{gone}"]))
    card.sources.append(str(root / "list.txt"))


def circular_links(card: Card, places: Places) -> None:
    """A folder with a link that points to itself."""
    root = card.folder / "disk"
    good_files(card, root)
    (root / "round").symlink_to(root / "round")
    card.sources.append(str(root))


def line_ends(card: Card, places: Places) -> None:
    """A name with a line end in it, which is a photograph like others."""
    root = card.folder / "odd"
    good_files(card, root)
    name = f"a\nb {card.number}.jpg"
    (root / name).write_bytes(photograph())
    card.expected[name] = DONE
    card.sources.append(str(root))


def withheld(card: Card, places: Places) -> None:
    """A list of URLs, some of which the server does not give to everybody, or whose host is gone."""
    root = card.folder / "guarded"
    rows = [f"{places.web}/{quote(file.relative_to(card.folder.parent).as_posix())}" for file in good_files(card, root)]
    for host in (f"{places.web}/401", f"{places.web}/403", _UNKNOWN_HOST, _SILENT_HOST):
        name = card.name()
        card.expected[name] = WITHHELD
        rows.append(f"{host}/{quote(name)}")
    target = card.folder / "guarded.csv"
    card.random.shuffle(rows)
    target.write_text("url\n" + "".join(f'"{row}"\n' for row in rows))
    card.sources.append(str(target))


def next_card(card: Card, places: Places) -> None:
    """A slot into which another card is put later: the same names, as many bytes or not, of other photographs."""
    root = card.folder / "slot" / "DCIM"
    for kind in card.random.choices(list(GOOD), k=card.random.randint(1, 3)):
        file = card.add(root, photograph(kind), DONE, GOOD[kind])
        # Some have as many bytes as before: only the time of change tells them apart.
        card.next_files[file] = card.random.choice(
            [(another_photograph(kind), DONE), (bytes(len(photograph(kind))), FAILED)]
        )
    card.sources.append(str(root.parent))
    card.next_sources.append(str(root.parent))


def read_only(card: Card, places: Places) -> None:
    """A folder in which nothing may be written, neither by its owner nor by a program."""
    root = card.folder / "share"
    for file in good_files(card, root / "night 1"):
        file.chmod(0o444)
    (root / "night 1").chmod(0o555)
    root.chmod(0o555)
    card.sources.append(str(root))


def accents(card: Card, places: Places) -> None:
    """A list whose names have accents in the other form than the files, and two files that differ in that alone."""
    root = card.folder / unicodedata.normalize(card.random.choice(["NFC", "NFD"]), "for\u00eat")
    root.mkdir()
    forms = card.random.sample(["NFC", "NFD"], 2)
    rows = []
    for index in range(card.random.randint(1, 3)):
        stored, listed = (unicodedata.normalize(form, f"\u00e9t\u00e9 {card.number}-{index}.jpg") for form in forms)
        (root / stored).write_bytes(photograph())
        card.expected[stored] = DONE
        rows.append(listed)
    (root / "names.txt").write_text("\n".join(rows))
    both = root / "both"
    both.mkdir()
    for form in forms:
        name = unicodedata.normalize(form, f"na\u00efve {card.number}.jpg")
        (both / name).write_bytes(photograph())
        card.expected[name] = DONE
    card.sources += [str(root / "names.txt"), str(both)]


def percents(card: Card, places: Places) -> None:
    """Folders with `%` and spaces, named as a path, as a pattern, and as the URIs of a list."""
    root = card.folder / card.random.choice(["50% of it", "a%20b", " leading", "trailing ", "100%41", "two  spaces"])
    files = good_files(card, root)
    files.append(card.add(root, photograph(), DONE))
    as_uris = card.folder / "uris.csv"
    as_uris.write_text("uri\n" + "".join(f'"file://{quote(str(file))}"\n' for file in files))
    card.sources.append(card.random.choice([str(root), str(as_uris), f"{root}/*"]))


def control_keys(card: Card, places: Places) -> None:
    """A key with a control character, which no URI can hold, among others."""
    store = fsspec.filesystem("s3", endpoint_url=places.endpoint, skip_instance_cache=True)
    prefix = f"control {card.number}"
    for file in good_files(card, card.folder / "keys"):
        store.call_s3("put_object", Bucket=BUCKET, Key=f"{prefix}/{file.name}", Body=file.read_bytes())
    store.call_s3("put_object", Bucket=BUCKET, Key=f"{prefix}/a\x01.jpg", Body=photograph())
    card.sources.append(f"s3://{BUCKET}/{prefix}")


SHAPES: Final[dict[str, Callable[[Card, Places], None]]] = {
    "nights": nights, "other files": other_files, "patterns": patterns, "named twice": named_twice, "lists": lists,
    "urls": urls, "bucket": bucket, "junk folders": junk_folders, "links": links, "empty files": empty_files,
    "missing folders": missing_folders, "circular links": circular_links, "line ends": line_ends,
    "control keys": control_keys, "withheld": withheld, "next card": next_card, "read-only": read_only,
    "accents": accents, "percents": percents,
}  # fmt: skip


def draw(
    seed: int, count: int, folder: Path, places: Places, *, awaited: bool = False, mixed: bool = True
) -> list[Card]:
    """Cards in folders of their own below `folder`, the same for the same seed. Without `mixed`, each has one shape."""
    known = [name for name in SHAPES if awaited or name not in AWAITED]
    cards = []
    for number in range(count):
        chance = random.Random(f"{seed}-{number}")
        card = Card(number=number, folder=folder / f"card{number}", random=chance)
        card.folder.mkdir(parents=True)
        # Each shape comes up; two more at most by chance.
        card.shapes = [known[number % len(known)], *chance.sample(known, chance.randint(0, 2) if mixed else 0)]
        card.shapes = list(dict.fromkeys(card.shapes))
        for shape in card.shapes:
            SHAPES[shape](card, places)
        cards.append(card)
    return cards


def name_of(uri: str) -> str:
    """The last part of a photograph's name."""
    last = uri.rpartition("/")[2]
    return last if uri.startswith("s3://") else unquote(last)


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Serve a folder, and refuse what is below `/401` and `/403`; yields the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def send_head(self) -> Any:
            if self.path.startswith(("/401/", "/403/")):
                return self.send_error(int(self.path[1:4]))
            return super().send_head()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, name="web server")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def places_for(folder: Path, endpoint: str) -> Iterator[Places]:
    """The web server and the bucket for the cards of a folder."""
    store = fsspec.filesystem("s3", endpoint_url=endpoint, skip_instance_cache=True)
    store.call_s3("create_bucket", Bucket=BUCKET)
    with web_server(folder) as web:
        yield Places(web=web, endpoint=endpoint)
