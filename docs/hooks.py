"""Writes into the site what the code itself says, and the notebooks as pages."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = {"parameters": "Arguments:", "returns": "Result:", "raises": "Errors:"}


def command_line() -> str:
    """The help of every command, as it is printed."""
    from rich.console import Console

    from w2s_export.cli.app import app

    texts = []
    for command in ("", "inspect", "restore", "verify", "simulate", "train", "evaluate", "submit"):
        stream = io.StringIO()
        console = Console(file=stream, width=74, no_color=True, legacy_windows=False)
        app.help_print([command] if command else [], console=console)
        texts.append(f"## w2s-export {command}\n\n```text\n{stream.getvalue().rstrip()}\n```\n")
    return "\n".join(texts)


def functions() -> str:
    """Signature and documentation of every public function, as Python shows them."""
    import inspect

    import w2s_export
    from w2s_export import api

    texts = []
    for name in w2s_export.__all__:
        function = getattr(api, name, None)
        if not inspect.isfunction(function):
            continue
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())
        lines = [_parameter(one) for one in parameters]
        lines.insert(sum(one.kind is not one.KEYWORD_ONLY for one in parameters), "*")
        shown = ",\n    ".join(lines)
        head = f"{name}(\n    {shown},\n) -> {signature.return_annotation}"
        told = documentation(inspect.getdoc(function))
        summary = told.pop(0)
        texts.append(f"## {name}\n\n{summary}\n\n```python\n{head}\n```\n\n" + "\n\n".join(told))
    return "\n\n".join(texts)


def documentation(docstring: str) -> list[str]:
    """A docstring in Google's style as Markdown: its text, then a list for each section."""
    from griffe import Docstring

    parts = []
    reading = {"warnings": False, "returns_multiple_items": False, "returns_named_value": False}
    for section in Docstring(docstring).parse("google", **reading):
        if section.kind.value == "text":
            parts += section.value.split("\n\n")
            continue
        parts.append(SECTIONS[section.kind.value])
        rows = []
        for one in section.value:
            text = " ".join(one.description.split())
            mark = "" if section.kind.value == "returns" else "`"
            name = getattr(one, "name", "") or one.annotation
            rows.append(f"- {mark}{name}{mark}: {text}" if name else f"- {text}")
        parts.append("\n".join(rows))
    return parts


def _parameter(parameter: Any) -> str:
    default = parameter.default
    if default is parameter.empty:
        return f"{parameter.name}: {parameter.annotation}"
    value = "nothing" if callable(default) else repr(default)
    return f"{parameter.name}: {parameter.annotation} = {value}"


def findings() -> str:
    """A row for each code: severity, whom it concerns, what to do, and the demand behind it."""
    from importlib import import_module

    from w2s_export.verify.findings import Code
    from w2s_export.verify.rules import registry

    for module in (Path(registry.__file__).parent).glob("*.py"):
        import_module(f"w2s_export.verify.rules.{module.stem}")
    rules: dict[str, list[Any]] = {}
    for rule in registry.RULES:
        rules.setdefault(rule.code.value, []).append(rule)
    rows = ["| code | severity | who minds | what to do |", "|---|---|---|---|"]
    for code in sorted(Code, key=lambda code: code.value):
        for rule in rules.get(code.value, ()):  # the page itself explains the others
            clients = ", ".join(client.value for client in rule.clients)
            cell = rule.remedy.replace("|", "\\|")
            rows.append(f"| `{code.value}` | {rule.severity.value} | {clients} | {cell} |")
    return "\n".join(rows)


GENERATED: dict[str, Callable[[], str]] = {
    "cli": command_line,
    "findings": findings,
    "functions": functions,
}


def on_files(files: Any, config: Any) -> Any:
    """The notebooks as pages, their pictures beside them: nothing is run, nothing is fetched."""
    from mkdocs.structure.files import File

    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        text, pictures = notebook_page(path)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, data in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=data))
    return files


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, with what its cells gave, and its pictures by their names."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for number, cell in enumerate(cells):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for place, output in enumerate(cell["outputs"]):
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}-{number}-{place}.png"
                pictures[name] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![What the cell shows]({name})")
            elif "text/markdown" in data:
                parts.append("".join(data["text/markdown"]))
            elif "text/html" in data:
                parts.append("".join(data["text/html"]))
            else:
                said = "".join(output.get("text", data.get("text/plain", "")))
                parts.append(f"```text\n{said.rstrip()}\n```")
    link = f"[Download this notebook]({path.name})"
    title, rest = parts[0].split("\n", 1)
    return "\n\n".join([title, link, rest, *parts[1:]]) + "\n", pictures


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace `<!-- generated: NAME -->`."""
    return re.sub(r"<!-- generated: (\w+) -->", lambda found: GENERATED[found[1]](), markdown)


def on_pre_build(config: Any) -> None:
    """Pictures that stand elsewhere in the repository."""
    folder = Path(config["docs_dir"]) / "assets"
    folder.mkdir(exist_ok=True)
    shutil.copyfile(ROOT / "models/wf2sim-microtubules-s/cover.png", folder / "cover.png")
    shutil.copyfile(ROOT / "examples/experiments/comparison.png", folder / "comparison.png")
