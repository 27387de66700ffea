"""`antenna taxa`: from a file to names, lists and what matches nothing, at 80 columns."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from antenna_orchestration.cli import output
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import services
from tests.answers.test_names import pipeline_with
from tests.cli.shells import Shell

TAXA = """\
label,scientificName,taxonRank,order,family,genus,taxonID,vernacularName,finest_rank
moth,Lepidoptera,order,Lepidoptera,,,797,moths,order
Noctua pronuba,Noctua pronuba,species,Lepidoptera,Noctuidae,Noctua,1784810,large yellow underwing,
"""


def test_names_from_a_file_to_what_matches_nothing(
    antenna: Shell, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_WIDTH_OF_FILES", 80)
    monkeypatch.chdir(tmp_path)
    file, names = tmp_path / "taxa.csv", tmp_path / "denmark.txt"
    file.write_text(TAXA)
    names.write_text("Noctua pronuba (Linnaeus, 1758)\n")
    own = ("--project", project)
    done = antenna("taxa", "import", "taxa.csv", *own)
    assert done.code == 0
    assert done.out == f"2 labels of project {project} named, 2 of them new\n"
    listed = antenna("taxa", "list", *own)
    assert [line.split() for line in listed.out.splitlines()] == [
        ["LABEL", "NAME", "RANK", "FAMILY"],
        ["Noctua", "pronuba", "=", "species", "Noctuidae"],
        ["moth", "Lepidoptera", "order"],
    ]
    made = antenna("taxa", "import", "denmark.txt", "--name", "Denmark", *own)
    assert made.out == f"species list 'Denmark' of project {project} imported: 1 name\n"
    assert "holds nowhere yet" in made.err
    used = antenna("taxa", "use", "Denmark", *own)
    assert used.out == f"species list 'Denmark' holds for project {project}\n"
    shown = antenna("taxa", "list", *own).out.splitlines()
    assert shown[1].split()[:4] == ["Denmark", "1", "the", "project"] and max(map(len, shown)) <= 80
    told = antenna("taxa", "show", "Noctua fimbriata", *own, "--json").json
    assert (told["rank"], told["lineage"]["family"], told["kept_by"]) == ("species", "Noctuidae", {"Denmark": False})
    assert "never finer than" in antenna("taxa", "show", "moth", *own).out
    matches = antenna("taxa", "unmatched", "--pipeline", "light_trap_insects", *own)
    assert {line.split()[-1] for line in matches.out.splitlines()} == {"LABEL", "nonmoth"}
    assert "1 of 2 labels match" in matches.err
    assert antenna("taxa", "use", "--none", *own).out == f"no species list holds for project {project}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("import", "nothing.csv"), 2, "nothing.csv cannot be read: No such file"),
        (("import", "bad.csv"), 2, "bad.csv, row 3, column taxonRank: 'odrer' is not a rank"),
        (("import", "bad.csv", "--name", " "), 2, "the name of a species list is"),
        (("import", "bad.csv", "--project", "Not a slug"), 2, "is not a slug"),
        (("use",), 2, "name either a species list or --none"),
        (("use", "x", "--none"), 2, "name either a species list or --none"),
        (("use", "x", "--project", "nobody-has-this"), 3, "there is no project nobody-has-this"),
        (("list", "--project", "nobody-has-this"), 3, "there is no project nobody-has-this"),
        (("unmatched", "--project", "nobody-has-this"), 3, "there is no project nobody-has-this"),
        (("show", "x", "--project", "nobody-has-this"), 3, "there is no project nobody-has-this"),
    ],
)
def test_what_cannot_be_done_with_names(
    antenna: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.csv").write_text("label,taxonRank\nmoth,order\nbee,odrer\n")
    antenna("taxa", *arguments).refused(code, message)


def test_what_a_worker_said_of_its_labels_is_shown(antenna: Shell, shared_stores: EmbeddedStores, project: str) -> None:
    async def register() -> None:
        async with services.opened(shared_stores.settings) as opened:
            labels, said = ["Noctua", "other"], [{"gbif_key": 1783894, "taxon_rank": "GENUS"}, {}]
            await opened.catalog.pipelines.register(pipeline_with(project, labels, said, owner=None))

    asyncio.run(register())
    lines = antenna("pipelines", "show", project).out.splitlines()
    assert any(line.split() == ["Noctua", "gbif_key", "1783894,", "taxon_rank", "GENUS"] for line in lines)
    shown = antenna("pipelines", "show", project, "--json").json
    assert shown["algorithms"][0]["categories"] == [{"gbif_key": 1783894, "taxon_rank": "GENUS"}, {}]
