"""Targets that take a POST: Slack's incoming webhooks, and any address that takes JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import aiohttp

from antenna_orchestration import __version__, errors
from antenna_orchestration.alerting import payload, secret_values
from antenna_orchestration.alerting.configuration import SlackTarget, WebhookTarget
from antenna_orchestration.domain.alerts import Message

_READ: Final = 1_024
"""Bytes of an answer that are read."""

_OF_MARKDOWN: Final = re.compile(r"@|\](?=[(\[:])")
_JOINER: Final = "\N{WORD JOINER}"
"""Is not seen, and keeps the two characters around it from being one thing."""


async def to_slack(target: SlackTarget, message: Message) -> str:
    """Post as Slack wants it: nothing in the texts is markup, names nobody and is fetched by anybody."""
    url = secret_values.value_of(target.url)
    lines = [message.subject, message.text, f"<{message.link}>" if message.link else ""]
    body = {
        "text": "\n".join([*map(_escaped, lines[:2]), *filter(None, lines[2:])]),
        "mrkdwn": False,
        "parse": "none",
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }
    return await _post(url, body, {}, secrets=secret_values.of_address(url))


async def to_webhook(target: WebhookTarget, message: Message) -> str:
    """Post the message as JSON. A receiver that saw its `id` before may leave it out."""
    is_secret = secret_values.is_reference(target.url)
    url = secret_values.value_of(target.url) if is_secret else target.url
    token = secret_values.value_of(target.token) if target.token else ""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return await _post(
        url, payload.of(message), headers, secrets=(*(secret_values.of_address(url) if is_secret else ()), token)
    )


def _escaped(text: str) -> str:
    """The text without what begins anything that is not text: links, pictures, mentions, entities.

    In Slack that are three characters. Mattermost reads Markdown in any case, and finds mentions by their @.
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _OF_MARKDOWN.sub(rf"\g<0>{_JOINER}", text)


async def _post(url: str, body: Mapping[str, Any], headers: Mapping[str, str], *, secrets: tuple[str, ...]) -> str:
    try:
        async with (
            aiohttp.ClientSession(
                headers={
                    "User-Agent": f"antenna-orchestration/{__version__}",
                    "Accept-Encoding": "identity",
                    **headers,
                },
                cookie_jar=aiohttp.DummyCookieJar(),
                # A few kilobytes may unpack to gigabytes.
                auto_decompress=False,
                # As for weights and photographs, http_proxy and no_proxy count.
                trust_env=True,
            ) as session,
            # A redirect would hand the secret on to somebody else.
            session.post(url, json=body, allow_redirects=False) as answer,
        ):
            said = (await answer.content.read(_READ)).decode(errors="replace")
            status = f"{answer.status} {answer.reason or ''}".strip()
    except aiohttp.InvalidURL:
        raise errors.Unavailable("its address is none that can be posted to") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise errors.Unavailable(secret_values.without(str(error) or type(error).__name__, *secrets)) from None
    told = secret_values.without(f"{status}: {said}" if said.strip() else status, *secrets)
    if not 200 <= answer.status < 300:
        why = " (redirects are not followed)" if 300 <= answer.status < 400 else ""
        raise errors.Unavailable(f"it answered {told}{why}")
    return told
