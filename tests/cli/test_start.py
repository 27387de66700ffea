"""The command itself: quick to start, and every failure one line with its exit code."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from antenna_orchestration import __version__
from antenna_orchestration.cli import index
from antenna_orchestration.embedded.stores import EmbeddedStores
from tests.cli.shells import Shell
from tests.submission.pictures import empty

HEAVY = {
    *("PIL", "aiohttp", "alembic", "botocore", "cv2", "dagster", "duckdb", "fastapi", "fsspec", "matplotlib", "nats"),
    *("numpy", "pandas", "psycopg", "pyarrow", "pydantic", "redis", "rich", "s3fs", "scipy", "sqlalchemy", "torch"),
}
"""Each takes a tenth of a second to import, or more."""

NOTES = """
import sys
from antenna_orchestration.cli import main
for line in sys.stdin:
    assert main.run(line.split()) == 0, line
    print("imported", *sys.modules)
"""


@pytest.mark.long
def test_a_command_that_looks_imports_only_what_it_needs(antenna: Shell, project: str, tmp_path: Path) -> None:
    number = antenna("submit", empty(tmp_path, "a.jpg"), "--pipeline", "null", "--project", project, "--json").json
    antenna("jobs", "cancel", number["job_id"])
    commands = {
        "--help": set(),
        f"jobs list --project {project}": {"psycopg", "pydantic", "rich"},
        "projects list": set(),
        f"jobs logs {number['job_id']}": set(),
        # Whether there are derived tables and a report.
        f"jobs show {number['job_id']}": {"fsspec"},
        # Of nats-py.
        "workers": {"aiohttp", "nats", "redis"},
        # For the times in EXIF data, which are read from the files.
        f"submit {tmp_path} --pipeline null --project {project}": {"PIL", "cv2", "numpy"},
    }
    done = subprocess.run(
        [sys.executable, "-c", NOTES], input="\n".join(commands), capture_output=True, text=True, check=True
    )
    seen: set[str] = set()
    noted = [set(line.split()) & HEAVY for line in done.stdout.splitlines() if line.startswith("imported ")]
    for (command, expected), modules in zip(commands.items(), noted, strict=True):
        assert modules - seen == expected, command
        seen |= modules


@pytest.mark.parametrize(("arguments", "expected"), [(["--help"], set()), (["token", "--help"], {"tokens"})])
def test_a_command_imports_no_other_commands_module(arguments: list[str], expected: set[str]) -> None:
    code = f"import sys; from antenna_orchestration.cli import main; main.run({arguments}); print('\\n', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.splitlines()[-1].split())
    commands = {place.code.partition(":")[0] for place in index.COMMANDS.values()}
    assert {name for name in commands if f"antenna_orchestration.cli.{name}" in imported} == expected


def test_help_lists_every_command(lonely: Shell) -> None:
    shown = lonely("--help").out
    names = ["up", "service", "env", "demo", "submit", "sources", "sets", "jobs", "worker", "workers", "scale"]
    names += ["gateway", "push", "serve", "token"]
    names += ["projects", "deployments", "taxa", "recipes", "pipelines", "reviews", "derive", "tables"]
    names += ["season", "export"]
    names += ["check-export", "report", "health", "doctor", "alerts", "rebuild", "backup", "restore", "usage", "clean"]
    names += ["settings"]
    lines = [line.split()[0] for line in shown.partition("Commands:")[2].splitlines() if line]
    assert lines == names
    assert "..." not in shown.partition("Commands:")[2]


def test_version(lonely: Shell) -> None:
    assert lonely("--version").out == f"antenna {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["submit"], "no images: name a folder, a list, or URLs"),
        (["sumbit"], "No such command 'sumbit'"),
        (["submit", "x", "--prio", "1"], "No such option"),
        (["submit", "x", "--priority", "0"], "priority"),
        (["submit", "x", "--priority", "high"], "priority"),
        (["submit", "x", "--limit", "0"], "limit"),
        (["jobs", "show", "one"], "JOB"),
        (["jobs", "list", "--status", "done"], "status"),
        (["worker", "--device", "gpu"], "ANTENNA_DEVICE"),
        (["worker", "--pipelines", "nope"], "there is no pipeline 'nope'"),
    ],
)
def test_a_wrong_command_line_is_one_line(antenna: Shell, arguments: list[str], message: str) -> None:
    antenna(*arguments).refused(2, message)


@pytest.mark.parametrize("arguments", [[], ["jobs"], ["pipelines"]])
def test_a_command_alone_shows_its_help(lonely: Shell, arguments: list[str]) -> None:
    shown = lonely(*arguments)
    assert shown.code == 2
    assert "Usage: antenna" in shown.err


def test_a_setting_that_does_not_parse(antenna: Shell) -> None:
    antenna.set(ANTENNA_TASK_ACK_WAIT="soon")
    antenna("jobs", "list").refused(2, "ANTENNA_TASK_ACK_WAIT")


def test_without_a_stack(lonely: Shell) -> None:
    lonely("jobs", "list").refused(2, "run `antenna up`")
    lonely("env").refused(3, "there is no stack in")


@pytest.mark.long
@pytest.mark.parametrize(("setting", "server"), [("ANTENNA_DATABASE_URL", "PostgreSQL"), ("ANTENNA_NATS_URL", "NATS")])
def test_a_server_out_of_reach(antenna: Shell, shared_stores: EmbeddedStores, setting: str, server: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    scheme = shared_stores.variables[setting].partition("://")[0]
    antenna.set(**{setting: f"{scheme}://user:secret@127.0.0.1:{free}/x"})
    answer = antenna("workers")
    answer.refused(5, f"{server} at {scheme}://user:***@127.0.0.1:{free}")
    assert "start it with `antenna up`" in answer.err


@pytest.mark.long
def test_exit_codes_of_the_process(antenna: Shell) -> None:
    started = [antenna.start("submit", "/nowhere/at/all"), antenna.start("jobs", "show", "4000000000")]
    codes = []
    for process in started:
        _, err = process.communicate(timeout=60)
        assert len(err.splitlines()) == 1
        codes.append(process.returncode)
    assert codes == [2, 3]


def test_a_stack_trace_only_on_request(antenna: Shell) -> None:
    antenna.set(ANTENNA_LOG_LEVEL="DEBUG")
    answer = antenna("jobs", "show", "4000000000")
    assert answer.code == 3
    assert "Traceback" in answer.err
    assert answer.err.rstrip().splitlines()[-1].startswith("antenna: error: there is no job")


WITHOUT_TORCH = (
    "import sys; sys.modules.update(dict.fromkeys(['torch', 'torchvision', 'timm'])); "
    "from antenna_orchestration.cli import main; "
)


@pytest.mark.usefixtures("lonely")
@pytest.mark.parametrize("command", ["worker", "demo"])
def test_a_worker_without_torch_says_what_to_install(command: str) -> None:
    code = f"{WITHOUT_TORCH} sys.exit(main.run(['{command}']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("antenna: error: PyTorch is not installed here")
    assert "pip install '.[worker]'" in line


@pytest.mark.long
def test_only_workers_need_torch() -> None:
    """The definitions, the gateway, submitting and the lists of pipelines work on a host without PyTorch."""
    code = (
        f"{WITHOUT_TORCH} import antenna_orchestration.definitions, antenna_orchestration.gateway.app; "
        "import antenna_orchestration.push.main, antenna_orchestration.processing.submit; "
        "assert main.run(['pipelines', 'show', 'panama_moths_2023']) == 0"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
