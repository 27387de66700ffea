"""Large posts are parsed by processes that are replaced now and then."""

import asyncio
from pathlib import Path

import pytest

from antenna_orchestration.contract.results import Reduction
from antenna_orchestration.gateway import parsing
from antenna_orchestration.gateway.bodies import Body

REDUCTION = Reduction(top_k=3, scores="auto", algorithms={})


@pytest.mark.long
async def test_posts_that_wait_outlive_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more posts than processes, the last waited for ever once all processes had had their number of posts."""
    monkeypatch.setattr(parsing, "RENEW_AFTER", 2)
    post = tmp_path / "post.json"
    post.write_text('{"results": [{"reply_subject": "a", "result": {"image_id": "1", "error": "odd"}}]}')
    parser = parsing.Parsing(tmp_path)

    async def read() -> list[str | None]:
        async with parser.items(Body(size=post.stat().st_size, data=None, path=post), REDUCTION) as items:
            return [item.reply_subject for item in items]

    try:
        async with asyncio.timeout(120):
            assert await asyncio.gather(*(read() for _ in range(9))) == [["a"]] * 9
    finally:
        parser.close()
