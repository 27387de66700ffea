"""The supervisor: the process that starts everything, keeps it running and ends it.

`antenna up` (the front, `stack.py`) starts it in a session of its own, so that Ctrl-C in a terminal reaches the front
alone. They speak through pipes: the front sends one line of JSON (the order) and later `stop`; the end of that pipe
means that the front is dead. The supervisor answers with events.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sys
import time
import traceback
from typing import Any

from antenna_orchestration import errors, kernel, settings
from antenna_orchestration.domain import terminal
from antenna_orchestration.embedded import (
    dagster_processes,
    environment,
    gateway_process,
    prepare,
    processes,
    stopping,
    stores,
)
from antenna_orchestration.embedded.children import Children
from antenna_orchestration.embedded.events import Event, Kind, to_line
from antenna_orchestration.embedded.home import Home, write_private
from antenna_orchestration.embedded.restarting import PortTaken, Restarter
from antenna_orchestration.embedded.servers import Server

PREPARE_TIMEOUT = 300.0
QUIET = 30.0
"""Seconds after which a start says what it waits for."""
STORES_QUIET = 8.0
"""The same for the bundled servers, which answer within a second or two."""
LOGS_EVERY = 30.0
"""Seconds between two looks at the size of the logs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """What the front wants started."""

    settings: dict[str, Any]
    dagster: bool
    definitions_module: str
    prepare_hook: str
    front: int
    """The front's pid."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StackStatus:
    """What runs in a home; written to `stack.json` for other shells. Holds no password."""

    home: str
    stack: str
    front: int
    """The process that Ctrl-C and SIGTERM are for."""
    supervisor: int
    ready: bool
    ui: str
    gateway: str
    lake: str
    ports: dict[str, int]
    pids: dict[str, int]


class Supervisor:
    """One stack, from its start to its end."""

    def __init__(self, order: Order, *, stack: str) -> None:
        self._order = order
        self._stack = stack
        self._started = time.monotonic()
        self._settings = settings.load(**order.settings)
        self._home = Home(self._settings.home.absolute())
        self._plan: stores.Plan | None = None
        self._children = Children({processes.STACK_VARIABLE: stack, processes.HOME_VARIABLE: str(self._home.path)})
        self._restarters: dict[str, Restarter] = {}
        self._stop = asyncio.Event()
        self._alone = asyncio.Event()
        self._ready = False
        # What an earlier stack left, and what became of it: for the one line before `ready`.
        self._found: list[str] = []

    async def run(self) -> int:
        """Start, keep and end the stack; returns the exit status."""
        self._listen()
        while isinstance(failure := await self._until_it_ends(), PortTaken) and not self._stop.is_set():
            # Everybody has the address in his environment.
            self._say("problem", f"{failure}: the whole stack is started again, with another port")
            await self._end()
            self._home.status_file.unlink(missing_ok=True)
            self._restarters.clear()
            self._found.clear()
            self._started = time.monotonic()
        if failure is None:
            self._say("stopping", "stopping")
        await self._end()
        self._home.status_file.unlink(missing_ok=True)
        if failure is not None:
            self._say("failed", _in_one_line(failure))
            return 1
        self._say("stopped", f"stopped, data stay in {self._home.path}")
        return 0

    async def _until_it_ends(self) -> Exception | None:
        """Start the stack and keep it running until it has to stop; returns why, or None if that was ordered."""
        work = asyncio.create_task(self._work(), name="work")
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        failure = await _failure(work)
        stop.cancel()
        self._ready = False
        self._write_status()
        return failure

    async def _end(self) -> None:
        """Stop in order; at once as soon as nobody is there to wait for it."""
        ordered = asyncio.create_task(self._stop_all(stopping.ORDERED), name="ordered stop")
        alone = asyncio.create_task(self._alone.wait(), name="alone")
        await asyncio.wait({ordered, alone}, return_when=asyncio.FIRST_COMPLETED)
        alone.cancel()
        if ordered.done():
            return await ordered
        ordered.cancel()
        return await self._stop_all(stopping.AT_ONCE)

    async def _stop_all(self, patience: stopping.Patience) -> None:
        await stopping.stop(
            self._restarters,
            home=self._home,
            stack=self._stack,
            children=self._children,
            patience=patience,
            report=lambda text: self._say("stopping", text),
        )

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._children.listen()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_reader(sys.stdin.fileno(), self._hear)

    def _hear(self) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._alone.set()
        self._stop.set()

    async def _work(self) -> None:
        """Everything up to the stop. Ends only by raising."""
        async with asyncio.TaskGroup() as keepers:
            keepers.create_task(self._keep_logs_short(), name="logs")
            await self._start(keepers)

    async def _keep_logs_short(self) -> None:
        """Whoever can make a process write lines, such as a client of the gateway, must not fill the disk."""
        while True:
            for log in self._home.logs.glob("*.log"):
                try:
                    processes.shorten(log)
                except OSError as error:
                    self._say("problem", f"{log} cannot be shortened: {error.strerror}")
            await asyncio.sleep(LOGS_EVERY)

    async def _start(self, keepers: asyncio.TaskGroup) -> None:
        """Start everything; `keepers` is given a task for each process that runs, which starts it again."""
        # The end of a stack deletes it, unless that end was a power loss or a kill.
        if self._home.status_file.exists():
            self._found.append("the last stack was not stopped in order")
        ended = processes.kill_until_gone(lambda: processes.marked(processes.HOME_VARIABLE, str(self._home.path)))
        if ended:
            self._found.append(f"ended {ended} processes that it left behind")
        self._home.stopping_file.unlink(missing_ok=True)
        plan = self._plan = stores.plan(self._settings, dagster=self._order.dagster, report=self._report)
        environment.write(self._home, plan.variables)
        environment.link_dotenv(self._home, report=self._report)
        async with asyncio.TaskGroup() as group:
            for server in plan.servers:
                group.create_task(self._bring_up(server, keepers, quiet=STORES_QUIET))
        if self._order.dagster:
            await self._start_dagster(plan, keepers)
        self._ready = True
        self._write_status()
        if found := [part for part in self._found if part]:
            self._say("found", f"found: {', '.join(found)}")
        where = plan.variables.get("ANTENNA_UI_URL", str(self._home.path))
        if gateway := plan.variables.get("ANTENNA_GATEWAY_URL"):
            where += f", gateway {gateway}"
        self._say("ready", f"{where} (after {time.monotonic() - self._started:.1f} s)")

    async def _start_dagster(self, plan: stores.Plan, keepers: asyncio.TaskGroup) -> None:
        dagster_processes.write_home(
            self._home,
            grpc_port=plan.ports["grpc"],
            elsewhere=plan.settings.worker_locations,
            slurm_options=plan.settings.slurm_options,
        )
        variables = _variables(plan)
        common: dict[str, Any] = {"home": self._home, "environment": variables}
        webserver = dagster_processes.Webserver(port=plan.ports["ui"], **common)
        code_server = dagster_processes.CodeServer(
            port=plan.ports["grpc"],
            webserver=webserver,
            definitions_module=self._order.definitions_module,
            **common,
        )
        preparation = processes.Command(
            name="prepare",
            argv=(sys.executable, "-P", "-m", prepare.__name__, self._order.prepare_hook),
            folder=self._home.dagster,
            log=self._home.logs / "prepare.log",
            environment=variables,
        )
        # The code server only loads definitions, so it need not wait for the tables; the other two read them.
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run_when_stores_answer(preparation))
            group.create_task(self._bring_up(code_server, keepers))
        found = processes.last_line(preparation.log)
        self._found += [found.removeprefix(prepare.FOUND)] if found.startswith(prepare.FOUND) else []
        others: list[Server] = [webserver, dagster_processes.Daemon(**common)]
        if "gateway" in plan.ports and plan.settings.gateway:
            host = plan.settings.gateway_host
            others.append(gateway_process.GatewayProcess(host=host, port=plan.ports["gateway"], **common))
        async with asyncio.TaskGroup() as group:
            for server in others:
                group.create_task(self._bring_up_on_stores(server, keepers, preparation))

    async def _run_when_stores_answer(self, preparation: processes.Command) -> None:
        """Run a command, and again while it ends because a store does not answer. Raises what `Children.run` does."""
        deadline, say_at = time.monotonic() + PREPARE_TIMEOUT, 0.0
        while True:
            try:
                return await self._children.run(preparation, timeout=PREPARE_TIMEOUT)
            except errors.Unavailable as error:
                if (now := time.monotonic()) > deadline:
                    raise
                if now > say_at:
                    self._say("problem", f"waiting: {error}")
                    say_at = now + QUIET
            await asyncio.sleep(1)

    async def _bring_up_on_stores(
        self, server: Server, keepers: asyncio.TaskGroup, preparation: processes.Command
    ) -> None:
        """Start a process that ends when a store does not answer; the preparation waits until they do again."""
        for _ in range(2):
            try:
                return await self._bring_up(server, keepers)
            except PortTaken:
                raise
            except errors.InternalError as error:
                self._say("problem", str(error))
            await self._run_when_stores_answer(preparation)
        return await self._bring_up(server, keepers)

    async def _bring_up(self, server: Server, keepers: asyncio.TaskGroup, *, quiet: float = QUIET) -> None:
        restarter = Restarter(server=server, children=self._children, report=self._tell, quiet=quiet)
        self._restarters[server.name] = restarter
        await restarter.start()
        keepers.create_task(restarter.keep_running(), name=server.name)

    def _report(self, text: str) -> None:
        self._say("problem", text)

    def _say(self, kind: Kind, text: str) -> None:
        self._tell(Event(kind=kind, text=text))

    def _tell(self, event: Event) -> None:
        with contextlib.suppress(OSError):  # a full disk: the front is told all the same
            print(f"{time.strftime('%H:%M:%S')} {event.kind}: {terminal.line(event.text)}", file=sys.stderr, flush=True)
        if event.kind == "started":
            self._write_status()
        # Nobody listening, or nobody reading: the log has it.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(sys.stdout.fileno(), to_line(event))

    def _write_status(self) -> None:
        plan = self._plan
        if plan is None:
            return
        status = StackStatus(
            home=str(self._home.path),
            stack=self._stack,
            front=self._order.front,
            supervisor=os.getpid(),
            ready=self._ready,
            ui=plan.variables.get("ANTENNA_UI_URL", ""),
            gateway=plan.variables.get("ANTENNA_GATEWAY_URL", ""),
            lake=plan.settings.lake,
            ports=plan.ports,
            pids={
                name: restarter.child.pid for name, restarter in self._restarters.items() if restarter.child is not None
            },
        )
        # A full disk, or somebody deleted the home under us: the stack itself is well.
        with contextlib.suppress(errors.InternalError):
            write_private(self._home.status_file, json.dumps(dataclasses.asdict(status)) + "\n")


def _variables(plan: stores.Plan) -> dict[str, str]:
    """The environment of Dagster's processes, and so of every run."""
    return {
        **environment.with_compiled_modules(os.environ),
        **environment.settings_as_variables(plan.settings),
        **plan.variables,
    }


async def _failure(work: asyncio.Task[None]) -> Exception | None:
    """Why the work ended; None when it has not and is cancelled here."""
    if not work.done():
        work.cancel()
    try:
        await work
    except asyncio.CancelledError:
        return None
    except Exception as error:
        first = _first(error)
        if not isinstance(first, errors.AntennaError):
            # A bug of ours: the log gets all of it, and the stack is stopped all the same.
            traceback.print_exception(error)
        return first
    return None


def _first(error: Exception) -> Exception:
    """The error of a group that says most: the stack survives that a port is taken."""
    if not isinstance(error, ExceptionGroup):
        return error
    every = [_first(each) for each in error.exceptions]
    return next((each for each in every if isinstance(each, PortTaken)), every[0])


def _in_one_line(error: Exception) -> str:
    if isinstance(error, errors.AntennaError):
        return str(error)
    return f"the supervisor failed: {type(error).__name__}: {error}"


def main() -> int:
    """Entry of the process. Its standard error is the supervisor's log."""
    kernel.become_subreaper()
    # Unbuffered: what follows the first line is for the event loop to read.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as pipe:
        order = Order(**json.loads(pipe.readline()))
    os.set_blocking(sys.stdout.fileno(), False)
    supervisor = Supervisor(order, stack=os.environ[processes.STACK_VARIABLE])
    return asyncio.run(supervisor.run())


if __name__ == "__main__":
    sys.exit(main())
