"""On the way to the zoo: everything that it asks for is checked, and nothing is sent unasked."""

from __future__ import annotations

import gc
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import bioimageio.spec
import pytest
import yaml

import w2s_export.verify.verify
from tests.package.conftest import real_description  # noqa: F401
from w2s_export import submit as public_submit
from w2s_export.cli import run
from w2s_export.errors import ConfigError, MissingExtraError, OutputError, PackageError
from w2s_export.package.archive import write_packages
from w2s_export.rdf.description import Description
from w2s_export.rdf.metadata import Metadata, default_metadata
from w2s_export.submit import TOKEN, Submission, submission_steps, submit
from w2s_export.verify.findings import Code, Finding, Severity

pytestmark = [
    pytest.mark.usefixtures("core_unasked"),
    pytest.mark.xdist_group("submit"),
]
COMPLETE = Metadata.model_validate(
    {
        "description": "Restores noise.",
        "authors": [{"name": "Ada Example"}],
        "maintainers": [{"name": "Ada Example", "github_user": "ada-example"}],
        "cite": [{"text": "Example, A. A paper. 2026.", "doi": "10.1234/example"}],
        "license": "CC-BY-4.0",
    }
)
Write = Callable[[Metadata], Path]


@pytest.fixture(scope="module")
def write(
    real_description: Description,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Write:
    """Packages of the same weights, with other words about them."""

    def package(given: Metadata) -> Path:
        metadata = default_metadata(real_description.network, given)
        described = replace(real_description, metadata=metadata)
        return write_packages(described, tmp_path_factory.mktemp("submit")).bioimageio

    return package


@pytest.fixture(scope="module")
def complete(write: Write) -> Path:
    return write(COMPLETE)


@pytest.fixture(scope="module", autouse=True)
def verified_once() -> Iterator[None]:
    """Run one package's weights, once: the others differ from it in their words alone."""
    with pytest.MonkeyPatch.context() as patch:
        verify = w2s_export.verify.verify.verify
        reports: dict[Path, Any] = {}

        def once(package: Path, **options: Any) -> Any:
            if package not in reports:
                reports[package] = verify(package, rules_only=bool(reports), **options)
            return reports[package]

        patch.setattr("w2s_export.verify.verify.verify", once)
        yield


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the zoo's client was told to send; nothing leaves the machine in any test."""
    told: list[Any] = []

    def upload(source: Any, /, **_: Any) -> str:
        told.append(source)
        return "https://hypha.example/artifacts/brave-beetle"

    monkeypatch.setattr(bioimageio.spec, "upload", upload)
    monkeypatch.delenv(TOKEN, raising=False)
    return told


def missing(submission: Submission) -> dict[str, tuple[str, ...]]:
    return {check.topic: check.missing for check in submission.checks if check.missing}


def test_a_complete_package_is_ready_and_stays_here(complete: Path, sent: list[Any]) -> None:
    submission = submit(complete)
    assert missing(submission) == {}
    assert submission.ready
    assert (submission.sent, sent) == ("", [])


def test_yes_sends_it_by_the_zoos_own_client(
    complete: Path, sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, "secret")
    submission = public_submit(complete, yes=True)
    assert submission.sent == "https://hypha.example/artifacts/brave-beetle"
    assert sent == [complete]


def test_without_a_token_yes_says_how_to_get_one(complete: Path, sent: list[Any]) -> None:
    with pytest.raises(ConfigError, match=r"bioimage\.io/#/api\?tab=hypha-rpc"):
        submit(complete, yes=True)
    assert sent == []


def test_a_client_that_cannot_upload_is_told_of_before_anything_is_verified(
    complete: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = shlex.split(submission_steps(complete)[1].partition("then ")[2])  # as a shell reads it
    assert typed == ["w2s-export", "submit", str(complete), "--yes"]
    monkeypatch.delattr(bioimageio.spec, "upload")
    with pytest.raises(MissingExtraError, match="cannot upload; install a newer one, or log in at"):
        submit(complete, yes=True)
    assert not any("--yes" in line and TOKEN in line for line in submission_steps(complete))
    assert submission_steps(complete)[0].startswith("On the web: log in at https://bioimage.io")


def test_a_refusal_of_the_zoo_is_a_sentence(
    complete: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> str:
        raise RuntimeError("Upload did not return resource id: {'detail': 'forbidden'}")

    monkeypatch.setattr(bioimageio.spec, "upload", refused)
    monkeypatch.setenv(TOKEN, "secret")
    with pytest.raises(OutputError, match="the zoo did not take it: RuntimeError: Upload did not"):
        submit(complete, yes=True)


def test_what_is_missing_is_named_and_nothing_is_sent(
    write: Write, sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, "secret")
    package = write(Metadata(tags=("mine",), description="x"))
    submission = submit(package, yes=True)
    assert set(missing(submission)) == {"maintainer", "authors", "tags"}
    assert any("modality" in text for text in missing(submission)["tags"])
    assert not submission.ready
    assert sent == []


@pytest.mark.parametrize(
    ("code", "ready", "mark"),
    [(Code.core_unavailable, False, "✗"), (Code.weights_not_run, True, "?")],
)
def test_what_the_zoo_tests_and_this_machine_cannot_is_told(
    code: Code,
    ready: bool,
    mark: str,
    complete: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    note = Finding(code, "weights.onnx", "is not installed here", Severity.note)
    whole = w2s_export.verify.verify.verify(complete)
    lacking = replace(whole, findings=(*whole.findings, note))
    monkeypatch.setattr("w2s_export.verify.verify.verify", lambda *_, **__: lacking)
    assert run(["submit", str(complete)]) == (0 if ready else 1)
    said = capsys.readouterr().out
    assert f"{mark} opens, and gives the same numbers" in said
    assert "weights.onnx: is not installed here" in said
    assert ("Ready" in said) == ready


def test_an_id_and_an_emoji_are_left_to_the_zoo(complete: Path, tmp_path: Path) -> None:
    import zipfile

    changed = tmp_path / "changed.bioimageio.zip"
    with zipfile.ZipFile(complete) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "rdf.yaml":
                rdf = {**yaml.safe_load(data), "id": "brave-beetle", "id_emoji": "🪲"}
                data = yaml.safe_dump(rdf).encode()
            target.writestr(name, data)
    named = missing(submit(changed))
    assert [text.split(":")[0] for text in named["id and emoji"]] == ["id", "id_emoji"]


def test_the_command_ends_in_its_code(
    complete: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["submit", str(complete)]) == 0
    said = capsys.readouterr().out
    assert "✓ maintainer" in said
    assert f"set it as {TOKEN}" in said
    assert run(["submit", str(write(Metadata(description="x")))]) == 1
    assert "✗ maintainer" in capsys.readouterr().out


def test_the_other_zip_is_refused_at_once(complete: Path) -> None:
    other = complete.with_name(complete.name.replace("bioimageio", "deepimagej"))
    with pytest.raises(PackageError, match=r"give NAME\.bioimageio\.zip"):
        submit(other)


def test_the_files_for_hugging_face(complete: Path, tmp_path: Path) -> None:
    folder = tmp_path / "card"
    with warnings.catch_warnings():
        # bioimageio.spec 0.5.12 leaves the zip open until its reader is collected.
        warnings.simplefilter("ignore", ResourceWarning)
        submission = submit(complete, hugging_face="ada", output=folder)
        gc.collect()
    assert submission.prepared == folder
    card = (folder / "README.md").read_text("utf-8")
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "cc-by-4.0"
    assert front["library_name"] == "bioimageio"
    assert "image-restoration" in front["tags"]
    assert "**Model type:** RRDBNet" in card
    training_data = card.partition("\n## Training Data\n")[2].partition("\n## ")[0]
    assert "BioSR microtubules" in training_data
    pictures = set(re.findall(r"!\[[^]]*\]\((images/[^)]+)\)", card))
    assert pictures == {f"images/{path.name}" for path in (folder / "images").iterdir()}
    assert (folder / "package" / "bioimageio.yaml").is_file()
    with pytest.raises(OutputError, match="not an empty folder"):
        submit(complete, hugging_face="ada", output=folder)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_hugging_face_gets_it_only_with_yes(
    complete: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[tuple[str, str, bool]] = []

    def push(model: Any, user: str, **options: Any) -> None:
        pushed.append((user, str(model.id), options["prep_only_no_upload"]))

    monkeypatch.setattr("bioimageio.spec._hf.push_to_hub", push)
    monkeypatch.setattr(
        "w2s_export.submit.find_spec",
        lambda name: ModuleType(name) if name == "huggingface_hub" else find_spec(name),
    )
    assert submit(complete, hugging_face="ada/restorer").sent == ""
    assert pushed == []
    assert submit(complete, yes=True, hugging_face="ada/restorer").sent.endswith("/ada/restorer")
    assert pushed == [("ada", "restorer", False)]
    gc.collect()  # bioimageio.spec leaves the zip open


def test_hugging_face_needs_its_client(complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("w2s_export.submit.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="python -m pip install huggingface_hub"):
        submit(complete, yes=True, hugging_face="ada")
    assert "huggingface_hub" not in sys.modules


@pytest.mark.parametrize("name", ["a/b/c", "", "../up", "two words"])
def test_no_repository(complete: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="USER or USER/REPOSITORY"):
        submit(complete, hugging_face=name)
