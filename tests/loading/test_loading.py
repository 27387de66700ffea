"""Loading alone: the answers of each kind of store, and whether image, store or worker is at fault."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from antenna_orchestration import errors, settings
from antenna_orchestration.loading.loader import Loader
from antenna_orchestration.loading.memory import MemoryBudget
from tests.loading.image_server import ImageServer, jpeg, serving
from tests.small_disks import small_disk

MB = 2**20


@asynccontextmanager
async def opened(tmp_path: Path, *, memory: int = 64 * MB, **overrides: Any) -> AsyncIterator[Loader]:
    wanted = {"allow_private_hosts": True, "load_timeout": 30.0, "max_image_bytes": 4 * MB, **overrides}
    config = settings.load(home=tmp_path / ".antenna", **wanted)
    async with Loader(settings=config, memory=MemoryBudget(memory)) as loader:
        yield loader
        assert loader.memory.used == 0, "memory of an image that failed was not given back"


@pytest.fixture
async def server() -> AsyncIterator[ImageServer]:
    async with serving() as running:
        yield running


async def load(loader: Loader, uri: str) -> bytes:
    data = await loader.load(uri)
    assert loader.memory.used == len(data)
    loader.memory.release(len(data))
    return data


async def test_http_images_come_whole(server: ImageServer, tmp_path: Path) -> None:
    async with opened(tmp_path) as loader:
        assert await load(loader, server.uri("good/1")) == server.image
        assert len(await load(loader, server.uri("chunked/3000000"))) == 3_000_000
        assert await load(loader, server.uri(f"redirect?to={server.uri('good/2')}")) == server.image
        assert await load(loader, server.uri("redirect?to=/good/3")) == server.image


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("good/1.jpg", "good/1.jpg"),
        ("good/a b.jpg", "good/a%20b.jpg"),
        ("good/a%20b c.jpg", "good/a%20b%20c.jpg"),
        ("good/K\u00e4fer%20n\u00ba1.jpg", "good/K%C3%A4fer%20n%C2%BA1.jpg"),
        ("good/a%2Fb%2f.jpg?s=x%2By%3D", "good/a%2Fb%2f.jpg?s=x%2By%3D"),
        ("good/100%.jpg", "good/100%25.jpg"),
        ("good/50%zz 1%.jpg", "good/50%25zz%201%25.jpg"),
        ("good/[1]{2}|3^`.jpg", "good/%5B1%5D%7B2%7D%7C3%5E%60.jpg"),
        ("good/a+b~c!$&'()*,;=:@.jpg", "good/a+b~c!$&'()*,;=:@.jpg"),
        ('good/a\\b"<>.jpg', "good/a%5Cb%22%3C%3E.jpg"),
        ("good/a//b.jpg", "good/a//b.jpg"),
        ("good/1.jpg?q=a b&r=[1]&t=%5B", "good/1.jpg?q=a%20b&r=%5B1%5D&t=%5B"),
    ],
)
async def test_what_may_not_stand_in_a_url_is_quoted(
    server: ImageServer, tmp_path: Path, written: str, sent: str
) -> None:
    """A8: valid escapes stay byte for byte, also where others are needed, and after a redirect."""
    async with opened(tmp_path) as loader:
        assert await load(loader, server.uri(written)) == server.image
        assert server.paths == [f"/{sent}"]
        assert await load(loader, server.uri(f"redirect?to=/{quote(written, safe='')}")) == server.image
        assert server.paths[-1] == f"/{sent}"


@pytest.mark.parametrize("bytes_range", ["bytes 0-{last}/{size}", "bytes 0-{last}/*"])
async def test_a_whole_partial_answer_is_a_picture(server: ImageServer, tmp_path: Path, bytes_range: str) -> None:
    """A8: some stores answer 206 to a request for everything."""
    size = len(server.image)
    async with opened(tmp_path) as loader:
        uri = server.uri(f"part?range={bytes_range.format(last=size - 1, size=size)}")
        assert await load(loader, uri) == server.image
        assert await load(loader, server.uri("status/203")) == b""
        with pytest.raises(errors.ImageUnreachable, match="HTTP 206 Partial Content"):
            await loader.load(server.uri(f"part?range=bytes 0-{size - 1}/{size + 100}"))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("status/404", "HTTP 404 Not Found"),
        ("status/410", "HTTP 410 Gone"),
        ("status/400", "HTTP 400 Bad Request"),
        ("large/5000000", "over MAX_IMAGE_BYTES"),
        ("chunked/5000000", "over MAX_IMAGE_BYTES"),
        ("redirect?to=file:///etc/passwd", "not http"),
        ("loop", "redirects"),
    ],
)
async def test_http_faults_of_the_image(server: ImageServer, tmp_path: Path, path: str, reason: str) -> None:
    async with opened(tmp_path) as loader:
        with pytest.raises(errors.ImageUnusable, match=reason):
            await loader.load(server.uri(path))


@pytest.mark.parametrize(
    "path", ["status/500", "status/503", "status/429", "status/408", "cut/500000", "hang", "dribble"]
)
async def test_http_faults_that_pass(server: ImageServer, tmp_path: Path, path: str) -> None:
    async with opened(tmp_path, load_timeout=0.5) as loader:
        with pytest.raises(errors.ImageUnreachable):
            await loader.load(server.uri(path))


async def test_a_refused_connection_passes(tmp_path: Path, server: ImageServer) -> None:
    async with opened(tmp_path) as loader:
        with pytest.raises(errors.ImageUnreachable, match=r"refused|failed"):
            await loader.load("http://127.0.0.1:9/image.jpg")


@pytest.mark.parametrize("path", ["status/401", "status/403"])
async def test_http_rights_are_the_workers(server: ImageServer, tmp_path: Path, path: str) -> None:
    async with opened(tmp_path) as loader:
        with pytest.raises(errors.ImageForbidden):
            await loader.load(server.uri(path))


async def test_a_name_that_does_not_resolve_is_the_workers(tmp_path: Path) -> None:
    async with opened(tmp_path) as loader:
        with pytest.raises(errors.ImageForbidden):
            await loader.load("http://images.invalid/a.jpg")


async def test_tls_that_does_not_verify_is_the_workers(server: ImageServer, tmp_path: Path) -> None:
    async with opened(tmp_path) as loader:
        with pytest.raises((errors.ImageForbidden, errors.ImageUnreachable)):
            await loader.load(server.uri("good/1").replace("http:", "https:"))


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:{port}/good/1",
        "http://localhost:{port}/good/1",
        "http://[::1]:{port}/good/1",
        "http://[::ffff:127.0.0.1]:{port}/good/1",
        "http://0.0.0.0:{port}/good/1",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/a.jpg",
        "http://[fd00::1]/a.jpg",
        "http://[64:ff9b::7f00:1]/a.jpg",
    ],
)
async def test_private_addresses_are_refused(server: ImageServer, tmp_path: Path, uri: str) -> None:
    async with opened(tmp_path, allow_private_hosts=False) as loader:
        with pytest.raises(
            errors.ImageForbidden, match="not a public address, and ANTENNA_ALLOW_PRIVATE_HOSTS is off here"
        ):
            await loader.load(uri.format(port=server.url.rpartition(":")[2]))
    assert not server.requests


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f.1", "0177.0.0.1", "①②⑦.1", "user:pw@127.1"])
async def test_odd_spellings_of_loopback_are_refused(server: ImageServer, tmp_path: Path, host: str) -> None:
    """Low, hosts: by our own rule, not because the HTTP library happens to stop them."""
    async with opened(tmp_path, allow_private_hosts=False) as loader:
        with pytest.raises(errors.ImageForbidden, match="not a public address"):
            await loader.load(f"http://{host}:{server.url.rpartition(':')[2]}/good/1")
    assert not server.requests


def test_redirects_from_public_hosts_to_private_ones_are_refused() -> None:
    """Low, hosts: each hop is judged. In a network of its own, where an address that looks public is this machine's."""
    command = ["unshare", "--user", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("this system makes no networks for users")
    script = [*command, sys.executable, "-m", "tests.loading.redirecting"]
    ended = subprocess.run(script, check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    answers = dict(line.split("\t") for line in ended.stdout.splitlines())
    assert answers.pop("9.9.9.9") == "loaded"
    assert len(answers) == 7
    assert set(answers.values()) == {"ImageForbidden"}


async def test_reasons_hold_no_signature(server: ImageServer, tmp_path: Path) -> None:
    async with opened(tmp_path) as loader:
        for path in ("status/403", "status/404", "status/503", "cut/5000"):
            with pytest.raises(errors.ImageError) as caught:
                await loader.load(server.uri(path) + "?X-Amz-Signature=secret")
            assert "secret" not in str(caught.value)
        with pytest.raises(errors.ImageError) as caught:
            await loader.load("http://user:secret@127.0.0.1:9/a.jpg?token=secret")
        assert "secret" not in str(caught.value)


async def test_s3_objects_come_whole(server: ImageServer, tmp_path: Path) -> None:
    async with opened(tmp_path, s3_endpoint_url=server.url, s3_anonymous=True) as loader:
        assert await load(loader, "s3://bucket/site 1/night é.jpg") == server.image
        assert loader.host("s3://bucket/a.jpg") == "s3:bucket"


@pytest.mark.long
@pytest.mark.parametrize(
    ("uri", "error"),
    [
        ("s3://no-key/a.jpg", errors.ImageUnusable),
        ("s3://large/5000000", errors.ImageUnusable),
        ("s3://bucket", errors.ImageUnusable),
        ("s3://no-bucket/a.jpg", errors.ImageForbidden),
        ("s3://denied/a.jpg", errors.ImageForbidden),
        ("s3://busy/a.jpg", errors.ImageUnreachable),
        ("s3://hang/a.jpg", errors.ImageUnreachable),
        ("s3://cut/500000", errors.ImageUnreachable),
    ],
)
async def test_s3_faults(server: ImageServer, tmp_path: Path, uri: str, error: type[errors.ImageError]) -> None:
    patience = 2.0 if "hang" in uri else 30.0
    async with opened(tmp_path, s3_endpoint_url=server.url, s3_anonymous=True, load_timeout=patience) as loader:
        with pytest.raises(error) as raised:
            await loader.load(uri)
    # A1: what failed names where, and the store's code where it gave one.
    is_of_store = uri != "s3://bucket" and "large" not in uri
    assert not is_of_store or uri.removeprefix("s3://").split("/")[0] in str(raised.value)
    assert "denied" not in uri or "HTTP 403 AccessDenied: Access Denied" in str(raised.value)


async def test_s3_without_credentials_is_the_workers(
    server: ImageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    async with opened(tmp_path, s3_endpoint_url=server.url) as loader:
        with pytest.raises(errors.ImageForbidden, match="redentials"):
            await loader.load("s3://bucket/a.jpg")


@pytest.mark.long
async def test_an_s3_store_that_is_down_passes(tmp_path: Path) -> None:
    async with opened(tmp_path, s3_endpoint_url="http://127.0.0.1:9", s3_anonymous=True) as loader:
        with pytest.raises(errors.ImageUnreachable):
            await loader.load("s3://bucket/a.jpg")


async def test_files_come_whole(tmp_path: Path) -> None:
    path = tmp_path / "with space é#.jpg"
    path.write_bytes(os.urandom(3 * MB))
    async with opened(tmp_path) as loader:
        assert await load(loader, path.as_uri()) == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.jpg", "no such file"),
        ("folder", "not a regular file"),
        ("pipe", "not a regular file"),
        ("large.jpg", "over MAX_IMAGE_BYTES"),
        ("x" * 300, "not a file"),
        ("present.jpg/below", "no such file"),
    ],
)
async def test_file_faults_of_the_image(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "present.jpg").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(5 * MB)
    async with opened(tmp_path) as loader:
        with pytest.raises(errors.ImageUnusable, match=reason):
            await loader.load((tmp_path / name).as_uri())


@pytest.mark.parametrize(
    "uri", ["file://other-host/a.jpg", "file:relative.jpg", "ftp://host/a.jpg", "image.jpg", "s3://"]
)
async def test_uris_that_say_nothing_are_the_images_fault(tmp_path: Path, uri: str) -> None:
    async with opened(tmp_path) as loader:
        with pytest.raises(errors.ImageUnusable):
            await loader.load(uri)


async def test_a_missing_folder_or_an_empty_one_is_the_workers_missing_mount(tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    async with opened(tmp_path) as loader:
        for path in ("mount/night-1/a.jpg", "mount/a.jpg", "nowhere/a.jpg"):
            with pytest.raises(errors.ImageForbidden, match="folder"):
                await loader.load((tmp_path / path).as_uri())


async def test_below_an_empty_mount_point_nothing_is_a_missing_folder(tmp_path: Path) -> None:
    """A share that was unmounted in the middle of a job: its 18,000 other photographs failed within seconds."""
    (tmp_path / "nas").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nas/site")
    async with opened(tmp_path) as loader:
        for path in ("nas/site/2025/night-1/a.jpg", "link/2025/a.jpg", "link/a.jpg"):
            with pytest.raises(errors.ImageForbidden, match="is it mounted") as caught:
                await loader.load((tmp_path / path).as_uri())
            assert not isinstance(caught.value, errors.FolderMissing), path
        with pytest.raises(errors.FolderMissing):
            await loader.load((tmp_path / "nowhere/2025/a.jpg").as_uri())


async def test_a_card_that_is_gone_from_beside_another_is_not_mounted(tmp_path: Path) -> None:
    """Folders such as `/media/user` lose a card's folder together with the card."""
    async with opened(tmp_path) as loader:
        with small_disk(tmp_path / "media/card 2", megabytes=1) as other:
            for _ in range(2):
                with pytest.raises(errors.ImageForbidden, match="is it mounted"):
                    await loader.load((tmp_path / "media/card 1/DCIM/a.jpg").as_uri())
            (other / "notes.txt").write_text("x")
            with pytest.raises(errors.FolderMissing):
                await loader.load((other / "DCIM/a.jpg").as_uri())


async def test_a_disk_that_was_read_from_is_missed_whatever_lies_there(tmp_path: Path) -> None:
    """A backup at night writes into the mount point of a share that is not there."""
    share = tmp_path / "share"
    (share / "left here").mkdir(parents=True)

    def fill() -> None:
        (share / "night-1").mkdir()
        (share / "night-1/a.jpg").write_bytes(jpeg())

    async with opened(tmp_path) as loader:
        for _ in range(2):
            with small_disk(share, megabytes=1):
                fill()
                assert await load(loader, (share / "night-1/a.jpg").as_uri())
                # Plainly there: it is the folder that is not.
                with pytest.raises(errors.FolderMissing):
                    await loader.load((share / "night-2/a.jpg").as_uri())
            for path in ("night-1/b.jpg", "night-2/a.jpg", "b.jpg", "left here/b.jpg"):
                with pytest.raises(errors.ImageForbidden, match="is it mounted") as caught:
                    await loader.load((share / path).as_uri())
                assert not isinstance(caught.value, errors.FolderMissing), path


async def test_a_root_that_is_not_there_is_the_workers(tmp_path: Path) -> None:
    async with opened(tmp_path, image_roots=(tmp_path / "mount",)) as loader:
        with pytest.raises(errors.ImageForbidden, match="IMAGE_ROOTS does not exist"):
            await loader.load((tmp_path / "mount" / "a.jpg").as_uri())


async def test_images_in_hand_never_exceed_the_memory_budget(server: ImageServer, tmp_path: Path) -> None:
    uris = [
        server.uri(f"{kind}/{size}") for kind in ("large", "chunked") for size in range(500_000, 3_500_000, 250_000)
    ]
    most = 0
    async with opened(tmp_path, memory=8 * MB) as loader:

        async def use(uri: str) -> None:
            nonlocal most
            data = await loader.load(uri)
            most = max(most, loader.memory.used)
            await asyncio.sleep(0)
            loader.memory.release(len(data))

        await asyncio.gather(*map(use, uris))
    assert 3 * MB < most <= 8 * MB


async def test_an_image_larger_than_the_budget_is_loaded_alone(server: ImageServer, tmp_path: Path) -> None:
    async with opened(tmp_path, memory=MB) as loader:
        sizes = await asyncio.gather(*(load_size(loader, server.uri(f"chunked/{size}")) for size in (3_000_000, 1000)))
    assert sizes == [3_000_000, 1000]


async def load_size(loader: Loader, uri: str) -> int:
    data = await loader.load(uri)
    loader.memory.release(len(data))
    return len(data)


async def test_a_link_that_took_a_files_place_leads_nowhere_outside(tmp_path: Path) -> None:
    """Low: a worker followed it, with rights of its own, and told by its errors what is outside."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.jpg").write_bytes(jpeg())
    (inside / "link.jpg").symlink_to(inside / "a.jpg")
    (inside / "out.jpg").symlink_to(outside / "a.jpg")
    (inside / "gone.jpg").symlink_to(outside / "gone.jpg")
    (inside / "folder").symlink_to(outside)
    (tmp_path / "roots").symlink_to(inside)
    async with opened(tmp_path, image_roots=(tmp_path / "roots",)) as loader:
        for name in ("in/a.jpg", "roots/a.jpg", "in/link.jpg"):
            assert await load_size(loader, (tmp_path / name).as_uri())
        for name in ("in/out.jpg", "in/gone.jpg", "in/folder/a.jpg", "in/folder/gone.jpg", "roots/out.jpg"):
            with pytest.raises(errors.ImageUnusable) as caught:
                await loader.load((tmp_path / name).as_uri())
            assert str(caught.value) == "a link that leads out of this worker's IMAGE_ROOTS"
        for name in ("out/a.jpg", "out/gone.jpg"):
            with pytest.raises(errors.ImageForbidden, match="out lies outside this worker's IMAGE_ROOTS"):
                await loader.load((tmp_path / name).as_uri())
    async with opened(tmp_path) as loader:
        assert await load_size(loader, (inside / "out.jpg").as_uri()), "without the setting any folder is allowed"
