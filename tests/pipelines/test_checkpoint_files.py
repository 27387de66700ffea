"""A16: broken checkpoints are refused in our own words: what the file is, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from antenna_orchestration import errors
from antenna_orchestration.pipelines.exported import programs
from antenna_orchestration.pipelines.published import architectures

STATE = nn.Linear(3, 2).state_dict()


def of(value: Any) -> Callable[[Path], object]:
    return lambda path: torch.save(value, path)


def text(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def cut(path: Path) -> None:
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:700])


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (of(nn.Sequential(nn.Linear(3, 2))), "holds Python objects, not only weights, and opening those could"),
        (of({f"module.{name}": value for name, value in STATE.items()}), "names begin with module., as DataParallel"),
        (of({f"_orig_mod.{name}": value for name, value in STATE.items()}), "names begin with _orig_mod., as torch."),
        (of({"state_dict": STATE, "epoch": 3}), "its weights are under state_dict; save that entry alone"),
        (of({"weight": STATE["weight"]}), "1 of 2 weights are missing, such as bias; is it of another network?"),
        (of({**STATE, "head.bias": STATE["bias"]}), "has 1 weights that the network has not, such as head.bias"),
        (of(nn.Linear(3, 5).state_dict()), "weight is 5 x 3, and 2 x 3 is wanted; is the number of classes right?"),
        (of({"weight": 1, "bias": 2}), "weight is not a tensor"),
        (of([1, 2]), "holds no weights by name"),
        (of(torch.ones(3)), "holds no weights by name"),
        (text(b""), "the file is empty"),
        (text(b"<!DOCTYPE html><html>"), "the file is a web page; download it again"),
        (text(b"version https://git-lfs.github.com/spec/v1\noid"), "a pointer of Git LFS; fetch the file with git lfs"),
        (text(b"\x80\x02}q\x00X" + bytes(range(256))), "it is damaged, or no checkpoint of PyTorch"),
        (text(b"hello"), "it is damaged, or no checkpoint of PyTorch"),
        (cut, "the file is cut off or damaged; copy it again"),
        (lambda path: None, "there is no such file"),
    ],
)  # fmt: skip
def test_a_broken_checkpoint_says_what_it_is(
    tmp_path: Path, write: Callable[[Path], object], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.pth"
    write(path)
    with pytest.raises(errors.InternalError, match=re.escape(reason)) as caught:
        architectures._filled(nn.Linear(3, 2), path)
    message = str(caught.value)
    assert str(path) in message and len(message) < 400
    assert not re.search(r"\x1b|\n|weights_only|Re-running", message + "".join(capfd.readouterr()))


@pytest.mark.parametrize("write", [text(b"<html>404"), of(STATE), text(b"x"), cut, lambda path: None])
def test_a_broken_program_says_so_in_one_line(
    tmp_path: Path, write: Callable[[Path], object], capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.pt2"
    write(path)
    with pytest.raises(errors.InternalError, match=r"model\.pt2 cannot be read") as caught:
        programs.load(path, torch.device("cpu"))
    assert not re.search(r"\x1b|\n", str(caught.value))
    assert "Traceback" not in "".join(capfd.readouterr())
