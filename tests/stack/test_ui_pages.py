"""The Dagster UI in a browser: its own pages work, others' do nothing."""

import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.stack.antenna_up import RunningStack

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

RESUME = "mutation { setAutoMaterializePaused(paused: false) }"
PAUSED = "{ instance { autoMaterializePaused } }"


def seen_in_browser(url: str, folder: Path) -> str:
    """The page's elements after its scripts have run for a while."""
    assert CHROMIUM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
               "--disable-component-update", "--disable-sync", f"--user-data-dir={folder}",
               "--virtual-time-budget=20000", "--dump-dom"]  # fmt: skip
    return subprocess.run([CHROMIUM, *options, url], check=True, capture_output=True, text=True, timeout=170).stdout


@contextmanager
def served(page: str) -> Iterator[str]:
    """Another site of this machine: the one that a careless click opens."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def hostile_page(ui: str) -> str:
    """Everything that a page may do to another origin without asking it first."""
    target = f"{ui}/graphql"
    return f"""<body><img src="{target}?query={quote(RESUME)}"><iframe name="f" src="{ui}/overview"></iframe>
        <form id="a" target="f" method="post" action="{target}?query={quote(RESUME)}"></form><pre id="said"></pre>
        <script>
        const said = what => document.getElementById("said").append(what + "; ");
        const body = {json.dumps(json.dumps({"query": RESUME}))};
        (async () => {{
          for (const type of ["text/plain", "application/json"])
            for (const mode of ["no-cors", "cors"])
              await fetch("{target}", {{method: "POST", mode, body, headers: {{"Content-Type": type}}}})
                .then(answer => said(mode + " " + type + " " + answer.type), () => said(mode + " " + type + " failed"));
          const socket = new WebSocket("{target.replace("http", "ws")}", "graphql-ws");
          socket.onopen = () => said("socket open"); socket.onerror = () => said("socket refused");
          document.getElementById("a").submit();
        }})();
        </script></body>"""


def test_a_foreign_page_changes_and_reads_nothing(running: RunningStack, tmp_path: Path) -> None:
    """S1: a page of another origin launched, ended and wiped."""
    ui = running.joined()["ANTENNA_UI_URL"]
    before = running.graphql(PAUSED)
    assert before["instance"]["autoMaterializePaused"] is True
    with served(hostile_page(ui)) as url:
        said = seen_in_browser(url, tmp_path).partition('<pre id="said">')[2].partition("</pre>")[0]
    assert said.split("; ")[:-1] == [
        "no-cors text/plain failed", "cors text/plain failed", "no-cors application/json failed",
        "cors application/json failed", "socket refused",
    ]  # fmt: skip
    assert running.graphql(PAUSED) == before


def test_the_uis_own_page_works(running: RunningStack, tmp_path: Path) -> None:
    seen = seen_in_browser(f"{running.joined()['ANTENNA_UI_URL']}/jobs", tmp_path)
    assert "process_job" in seen
