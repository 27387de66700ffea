"""The page `/docs`: the OpenAPI document for people. It needs no internet access and runs no script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any, Final

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""Content security policy of the page: no outside resources, no scripts."""

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h2 { margin-top: 2.5rem } h3 { margin: 2rem 0 .2rem } code, pre { font-size: .9em; background: #f3f3f3 }
pre { padding: .8rem; overflow: auto } td { padding: .1rem .8rem .1rem 0 }
"""


def describe(document: dict[str, Any]) -> str:
    """The page for an OpenAPI document."""
    info = document["info"]
    return "".join(
        [
            f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}</title>",
            f"<style>{_STYLE}</style><h1>{escape(info['title'])} {escape(info['version'])}</h1>",
            f"<p>{escape(info.get('description', ''))}</p>",
            "<p>Callers send <code>Authorization: Token …</code>. The same for programs: "
            "<a href=openapi.json>openapi.json</a></p>",
            *_operations(document),
            "<h2>Shapes</h2>",
            *_schemas(document),
        ]
    )


def _operations(document: dict[str, Any]) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"<h3><code>{method.upper()} {escape(path)}</code></h3>"
            yield f"<p><b>{escape(operation.get('summary', ''))}</b> {escape(operation.get('description', ''))}</p>"
            yield from _parameters(operation)
            for content in operation.get("requestBody", {}).get("content", {}).values():
                yield f"<p>Body: {_shape(content['schema'])}</p>"
            yield "<table>"
            for status, answer in operation["responses"].items():
                schemas = [content.get("schema", {}) for content in answer.get("content", {}).values()]
                shapes = ", ".join(_shape(schema) for schema in schemas)
                yield f"<tr><td>{escape(status)}<td>{escape(answer['description'])}<td>{shapes}"
            yield "</table>"


def _parameters(operation: dict[str, Any]) -> Iterator[str]:
    names = [f"<code>{escape(one['name'])}</code>" for one in operation.get("parameters", []) if one["in"] == "query"]
    if names:
        yield f"<p>Query: {', '.join(names)}</p>"


def _schemas(document: dict[str, Any]) -> Iterator[str]:
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        text = json.dumps(schema, indent=2, ensure_ascii=False)
        yield f"<h3 id={escape(name, quote=True)}>{escape(name)}</h3><pre>{escape(text)}</pre>"


def _shape(schema: dict[str, Any]) -> str:
    """A link to a named schema, or the schema itself."""
    if name := schema.get("$ref", "").rpartition("/")[2]:
        return f"<a href=#{escape(name, quote=True)}>{escape(name)}</a>"
    return f"<code>{escape(json.dumps(schema, ensure_ascii=False))}</code>" if schema else ""
