"""The page as text: what it shows, what it never lets in, and what its pictures mean."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from w2s_export.errors import OutputError
from w2s_export.rdf.whole_image import WholeImageMemory
from w2s_export.restore.halo import HaloMeasurement
from w2s_export.verify.chart import seam_chart
from w2s_export.verify.clients.core_tests import CoreTest, Result
from w2s_export.verify.findings import Client, Code, Finding, Severity
from w2s_export.verify.page import render_page, write_page
from w2s_export.verify.pictures import Picture, difference_map, view
from w2s_export.verify.report import Comparison, Kind, PackageFacts, Report, SampleRuns
from w2s_export.verify.verdicts import judge

TEMPLATE = Path(__file__).resolve().parents[2] / "bioimageio" / "templates" / "report.html"
SEAMS = tuple((halo, 10.0 ** (-halo / 4)) for halo in range(33))  # 1e-4 at 16


def runs(side: int = 24, scale: int = 2) -> SampleRuns:
    """The input is bright above, the restored image below."""
    image = np.zeros((1, side, side), np.uint16)
    image[:, : side // 2] = 900
    restored = np.zeros((1, scale * side, scale * side), np.float32)
    restored[:, scale * side // 2 :] = 1
    outputs = {"ONNX Runtime 1.32.0": restored + np.float32(1e-6), "TensorFlow 2.21.0": restored}
    return SampleRuns("cells", 0.0626, image, restored, outputs)


PACKAGE = "m.deepimagej.zip"
CLIENTS = (Client.deepimagej_3_1, Client.core_0_11)


def row(subject: str, case: str, far: float, kind: Kind = Kind.output) -> Comparison:
    psnr = math.inf if far == 0 else 90.0
    against = "Keras 3.15.0" if kind is Kind.output else "the whole image"
    return Comparison(
        subject, case, (1, 1, 48, 48), 2 * far, far, psnr, PACKAGE, "onnx", kind, against, ()
    )


def report(
    *findings: Finding, sample: SampleRuns | None = None, clients: tuple[Client, ...] = CLIENTS
) -> Report:
    return Report(
        packages=(
            PackageFacts(PACKAGE, "0.4.10", "ab" * 32, 3_000_000, {"rdf.yaml": "cd" * 32}, clients),
        ),
        verdicts=judge(PACKAGE, findings, clients),
        findings=findings,
        parity=(
            row("ONNX Runtime 1.32.0", "sample, 24×24", 2e-7),
            row("TensorFlow 2.21.0", "sample, 24×24", 0.0),
            row("TensorFlow 2.21.0", "tiles, halo 16", 9e-5, Kind.tiles),
            row("test input", "the sample itself", 0.0, Kind.file),
        ),
        core_tests=(CoreTest(PACKAGE, "onnx", Result.passed, (), 1.5),),
        environment={"versions": {"onnxruntime": "1.32.0"}, "patched": [], "isolation": []},
        halo=HaloMeasurement(16, 33, 1e-4, SEAMS),
        whole_image=WholeImageMemory(2.0, 50.3),
        tolerance=1e-4,
        seam_limit=1e-3,
        seconds={"client rules": 0.1},
        sample=runs() if sample is None else sample,
    )


ERROR = Finding(
    Code.onnx_ir_too_new,
    "weights.onnx",
    "has IR 14",
    package=PACKAGE,
    clients=(Client.deepimagej_3_1,),
    remedy="write IR 8",
    because="ONNX opset ≤17 and IR ≤8",
)


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_good_export_reads_as_good() -> None:
    page = Elements(render_page(report(), "model", {"Converting to ONNX": 2.5}))
    for words in (
        "✓ Verified: every format gives the same image.",
        "2 of 2",
        # the largest difference between formats, and what it is between; tiles are another matter
        "2.0e-07of the range, between ONNX Runtime 1.32.0 and Keras 3.15.0; limit 0.0001",
        "bioimageio.core 0.11",
        "about 2 GB for each megapixel",
        "8 GB3 megapixels, 1720×1720",
        "Above 50.3 megapixels it hangs",
        "Sizes below 33 pixels",
        "Sample: cells. Input 24×24 pixels of 62.6 nm",
        "48×48 pixels of 31.3 nm",
        "Converting to ONNX",
        "2.5 s",
        "verifying: client rules",
        "onnxruntime",
        "ab" * 32,
    ):
        assert words in page.text, words
    assert "Findings and what to do" not in page.text
    assert "8e-05" not in page.text.split("Clients")[0]


def test_a_fault_is_shown_with_its_remedy_and_who_minds() -> None:
    text = render_page(report(ERROR), "model", {})
    page = Elements(text)
    assert "✗ Not verified: 1 fault." in page.text
    assert "1 of 2" in page.text
    for words in ("onnx-ir-too-new", "has IR 14", "write IR 8", "IR ≤8", "Concerns DeepImageJ 3.1"):
        assert words in page.text
    verdicts = re.findall(r"(DeepImageJ 3\.1|bioimageio\.core 0\.11)</td>.*?([✓✗] \w+)", text)
    assert verdicts == [("DeepImageJ 3.1", "✗ refuses"), ("bioimageio.core 0.11", "✓ accepts")]
    assert 'href="#finding-1"' in text
    assert 'id="finding-1"' in text


def test_a_warning_does_not_refuse() -> None:
    warning = Finding(Code.license_unknown, "license", "x", Severity.warning, package=PACKAGE)
    text = render_page(report(warning), "model", {})
    page = Elements(text)
    assert "✓ Verified" in page.text
    assert "✗ refuses" not in page.text
    # both clients that the package is meant for
    assert page.text.count("✓ accepts with warnings") == 2
    assert page.text.count("– not meant for") == len(Client) - 2


@pytest.mark.parametrize(
    ("findings", "kind", "words"),
    [
        ((), "good", "✓ DeepImageJ 3.1 accepts, bioimageio.core 0.11 accepts"),
        ((ERROR,), "bad", "✗ DeepImageJ 3.1 refuses, bioimageio.core 0.11 accepts"),
        (
            (Finding(Code.internal_error, "", "", Severity.warning, package=PACKAGE),),
            "warn",
            "? DeepImageJ 3.1 unproven, bioimageio.core 0.11 unproven",
        ),
    ],
)
def test_a_package_of_somebody_else_has_the_same_page(
    findings: tuple[Finding, ...], kind: str, words: str
) -> None:
    said = dataclasses.replace(
        report(*findings), halo=None, seam_limit=None, sample=None, whole_image=None
    )
    text = render_page(said, "theirs.zip", {})
    assert f'class="banner {kind}"' in text
    page = Elements(text)
    assert words in page.text
    assert "nothing was run" not in page.text
    by_rules = render_page(dataclasses.replace(said, rules_only=True), "theirs.zip", {})
    assert f"{words}. By the rules alone: nothing was run" in Elements(by_rules).text
    assert "Seams between tiles" not in page.text
    assert "Memory in DeepImageJ 3.1" not in page.text


@pytest.mark.parametrize(
    ("side", "words"),
    [(0.0626, "62.6 nm"), (0.99999, "1 µm"), (1.0, "1 µm"), (0.9994, "999.4 nm"), (6.5, "6.5 µm")],
)
def test_a_micrometre_is_not_a_thousand_nanometres(side: float, words: str) -> None:
    sample = dataclasses.replace(runs(), pixel_size_um=side)
    page = Elements(render_page(report(sample=sample), "model", {}))
    assert f"24×24 pixels of {words}" in page.text


ATTACK = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>$title&amp;"


def test_nothing_from_outside_becomes_markup() -> None:
    clean = Elements(render_page(report(ERROR), "model", {"stage": 1.0}))
    faulty = Finding(Code.rdf_name, ATTACK, ATTACK, remedy=ATTACK, package=ATTACK)
    hostile = report(faulty, sample=SampleRuns(ATTACK, None, *_arrays(runs(), ATTACK)))
    said = dataclasses.replace(
        hostile,
        packages=(PackageFacts(ATTACK, ATTACK, ATTACK, 3, {ATTACK: ATTACK}, (Client.zoo,)),),
        verdicts=judge(ATTACK, (faulty,), (Client.zoo,)),
        core_tests=(CoreTest(ATTACK, ATTACK, Result.failed, (ATTACK,), None),),
        parity=(dataclasses.replace(row(ATTACK, ATTACK, 0.0), against=ATTACK),),
        environment={"versions": {ATTACK: ATTACK}, "patched": [ATTACK], "isolation": [ATTACK]},
    )
    page = Elements(render_page(said, ATTACK, {ATTACK: 1.0}))
    assert page.tags.count("script") == clean.tags.count("script") == 1
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert all(v.startswith("data:") for _, name, v in page.attributes if name == "src")
    assert page.text.count(ATTACK) >= 8


def _arrays(sample: SampleRuns, name: str) -> tuple:
    return sample.image, sample.restored, {name: sample.restored}


def test_nothing_is_fetched() -> None:
    page = Elements(render_page(report(ERROR), "model", {}))
    addresses = [v for _, name, v in page.attributes if name in ("src", "href", "srcset", "action")]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.findall(r"url\(|@import|https?://", TEMPLATE.read_text(encoding="utf-8"))
    assert "default-src 'none'" in TEMPLATE.read_text(encoding="utf-8")


def test_a_large_sample_makes_a_small_page() -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 60_000, (1, 1000, 1500)).astype(np.uint16)
    restored = random.random((1, 2000, 3000), np.float32)
    sample = SampleRuns("noise", 0.1, image, restored, {"a": restored + 1e-6, "b": restored * 2})
    text = render_page(report(sample=sample), "model", {})
    assert len(text) < 4_000_000  # noise does not compress: 12 million pixels were 12 MB a picture
    assert "4×4 pixels became one" in text


def test_an_output_of_another_shape_is_told_not_drawn() -> None:
    sample = runs()
    outputs = {"ONNX Runtime": sample.restored[:, 1:], "TensorFlow": sample.restored}
    sample = SampleRuns(sample.name, None, sample.image, sample.restored, outputs)
    page = Elements(render_page(report(sample=sample), "model", {}))
    assert "gives (1, 47, 48) where the source gives (1, 48, 48)" in page.text
    assert len([1 for tag, name, _ in page.attributes if (tag, name) == ("img", "src")]) == 3


def test_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_page(report(), tmp_path / "missing" / "report.html", "model", {})
    write_page(report(), tmp_path / "report.html", "model", {})
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def decode(picture: Picture) -> np.ndarray:
    data = base64.b64decode(picture.uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_colours_of_differences_mean_what_the_legend_says() -> None:
    expected = np.zeros((1, 2, 5), np.float32)
    expected[0, 1] = 2.0  # the range is 2
    actual = expected.astype(np.float64)
    actual[0, 0] += 2 * np.array([0.0, 1e-8, 1e-6, 1e-4, 1.1e-4])
    colours = decode(difference_map(expected, actual, 1e-4))[0].tolist()
    assert colours[0] == [0, 0, 0]
    assert colours[4] == [0xFF, 0x3B, 0x30]
    # Log scale: the ends and the middle of viridis (matplotlib: 440154, 21918c, fde725).
    for colour, anchor in zip(colours[1:4], ("000000", "21918c", "fde725"), strict=True):
        assert np.abs(np.array(colour) - list(bytes.fromhex(anchor))).max() <= 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_beyond_the_limit(value: float) -> None:
    expected = np.eye(3, dtype=np.float32)[np.newaxis]
    actual = expected.copy()
    actual[0, 1, 2] = value
    colours = decode(difference_map(expected, actual, 1e-4))
    assert colours[1, 2].tolist() == [0xFF, 0x3B, 0x30]
    assert colours.reshape(-1, 3).max(axis=1).tolist().count(0) == 8


def test_one_wrong_pixel_survives_the_reduction() -> None:
    expected = np.linspace(0, 1, 1600 * 801, dtype=np.float32).reshape(1, 801, 1600)
    actual = expected.copy()
    actual[0, 800, 1] += 0.5
    picture = difference_map(expected, actual, 1e-4)
    assert (picture.width, picture.height, picture.reduced) == (534, 267, 3)
    red = np.argwhere(decode(picture)[..., 0] == 0xFF)
    assert red.tolist() == [[266, 0]]


def test_an_image_is_shown_between_its_percentiles() -> None:
    ramp = np.arange(1001, dtype=np.float32).reshape(1, 1, 1001) * 7 - 500
    shown = decode(view(ramp[..., :700]))[0, :, 0]
    low, high = np.percentile(np.arange(700), [0.5, 99.8])
    expected = np.clip((np.arange(700) - low) / (high - low), 0, 1) * 255
    assert np.abs(shown - expected).max() <= 1


def test_the_chart_marks_the_measured_places() -> None:
    chart = seam_chart(HaloMeasurement(16, 33, 1e-4, SEAMS), 1e-4)
    # 420 wide, 52 left and 12 right of the axes: halo 16 of 32 is at 52 + 356 / 2.
    assert 'class="chosen" x1="230.0"' in chart
    # 1 above and 1e-8 below, 14 and 46 from the edges of 270: 1e-4 is at 14 + 210 / 2.
    assert 'class="limit" x1="52.0" y1="119.0"' in chart
    assert 'cx="230.0" cy="119.0"' in chart
    assert chart.count("<circle") == 33


@pytest.mark.parametrize(
    "seams", [((0, 0.0),), ((0, math.inf), (1, math.nan), (2, 1e-5)), ((0, 1e-12),)]
)
def test_a_chart_of_odd_measurements_stays_inside(seams: tuple) -> None:
    chart = seam_chart(HaloMeasurement(2, 5, 1e-4, seams), 1e-4)
    heights = [float(y) for y in re.findall(r'cy="([^"]+)"', chart)]
    assert heights
    assert all(14 <= height <= 224 for height in heights)


def test_no_curve_no_chart() -> None:
    assert seam_chart(HaloMeasurement(2, 5, 1e-4, ()), 1e-4) == ""


def luminance(colour: str) -> float:
    parts = [value / 255 for value in bytes.fromhex(colour)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(scheme: str) -> None:
    blocks = re.findall(r":root \{(.*?)\}", TEMPLATE.read_text(encoding="utf-8"), re.S)
    colours = dict(re.findall(r"--([\w-]+): #(\w{6})", blocks[scheme == "dark"]))
    grounds = [(text, ground) for text in ("ink", "soft", "accent") for ground in ("page", "card")]
    grounds += [(kind, f"{kind}-card") for kind in ("good", "bad", "warn")] + [("bad", "card")]
    for text, ground in grounds:
        light = sorted(luminance(colours[name]) for name in (text, ground))
        contrast = (light[1] + 0.05) / (light[0] + 0.05)
        assert contrast >= 4.5, (text, ground, contrast)  # WCAG 2.2, AA
