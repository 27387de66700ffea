"""An S3 store over a folder, with the arguments, the environment and the health check of compose.yaml's `store`."""

import os
import sys
from pathlib import Path

import uvicorn
from nanio.app import build_app
from nanio.auth.credentials import StaticCredentialResolver
from nanio.config import Settings
from starlette.responses import PlainTextResponse


def main() -> None:
    """Serve the folder of the second argument: `posix /data`."""
    settings = Settings(
        data_dir=Path(sys.argv[2]),
        region=os.environ["VGW_REGION"],
        credentials=StaticCredentialResolver({os.environ["ROOT_ACCESS_KEY"]: os.environ["ROOT_SECRET_KEY"]}),
    )
    store = build_app(settings)
    health = os.environ["VGW_HEALTH"]

    async def app(scope, receive, send):
        answer = PlainTextResponse("ok") if scope.get("path") == health else store
        await answer(scope, receive, send)

    # The composition's network `inside` is all that a container has.
    uvicorn.run(app, host="0.0.0.0", port=int(os.environ["VGW_PORT"].removeprefix(":")), access_log=False)  # noqa: S104


main()
