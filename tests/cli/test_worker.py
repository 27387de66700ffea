"""`antenna worker` in a process of its own."""

import asyncio
import re
from pathlib import Path

import pytest

from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import services
from tests.cli.shells import Shell
from tests.submission.pictures import empty


@pytest.mark.long
def test_a_worker_does_what_waits_and_leaves(
    own_stores: EmbeddedStores,
    project: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asyncio.run(services.prepare(own_stores.settings))
    antenna = Shell(own_stores.variables, monkeypatch, capsys)
    folder = empty(tmp_path, "a b.jpg", "Käfer.jpg")
    for path in folder.iterdir():
        path.write_bytes(b"not opened by this pipeline")
    submitted = antenna("submit", folder, "--pipeline", "null", "--project", project)
    assert submitted.code == 0
    answer = antenna.process("worker", "--pipelines", "null", "--exit-when-idle", "1", "--name", "w1")
    assert answer.code == 0
    assert re.fullmatch(r"worker w1 left \(idle\): 2 done, 0 failed, 0 handed back\n", answer.out)
    assert "INFO" in answer.err
