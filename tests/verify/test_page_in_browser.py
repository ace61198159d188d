"""The page in a real browser: nothing fetched, nothing complained of, every control works."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from w2s_export.verify.page import write_page

from .chromium import CHROMIUM, Page, chromium
from .test_page import ERROR, report, runs

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium")

DESKTOP, PHONE = (1100, 900), (390, 844)


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with chromium() as page:
        yield page


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(report(ERROR, sample=runs(64)), path, "wf2sim-microtubules-s", {"Converting": 2.5})
    return path


@pytest.fixture
def page(browser: Page, file: Path) -> Page:
    browser.open(file, *DESKTOP, "light")
    browser.value("document.getElementById('stage').scrollIntoView()")
    return browser


def box(page: Page, name: str = "stage") -> tuple[float, float, float, float]:
    found = page.value(
        f"(r => [r.left, r.top, r.width, r.height])"
        f"(document.getElementById('{name}').getBoundingClientRect())"
    )
    left, top, width, height = found
    return left, top, width, height


def point(page: Page, u: float, v: float) -> tuple[float, float]:
    left, top, width, height = box(page)
    return left + u * width, top + v * height


def brightness(page: Page, u: float, v: float) -> int:
    pixels = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("L"))
    x, y = point(page, u, v)
    return int(pixels[int(y), int(x)])


def split(page: Page) -> float:
    shown = float(page.value("getComputedStyle(stage).getPropertyValue('--split')"))
    assert page.value("divider.getAttribute('aria-valuenow')") == str(round(shown))
    return shown


def click(page: Page, name: str) -> None:
    left, top, width, height = box(page, name)
    middle = left + width / 2, top + height / 2
    page.drag(middle, middle)


# The input is bright above, the restored image below: (0.25, 0.3) is white in the one and black
# in the other.


def test_the_pointer_moves_the_divider_and_the_picture(page: Page) -> None:
    assert split(page) == 50
    assert brightness(page, 0.25, 0.3) > 200
    assert brightness(page, 0.75, 0.3) < 50
    page.drag(point(page, 0.5, 0.5), point(page, 0.1, 0.5))
    assert split(page) == pytest.approx(10, abs=0.5)
    assert brightness(page, 0.25, 0.3) < 50
    page.drag(point(page, 0.1, 0.7), point(page, 0.9, 0.7))
    assert brightness(page, 0.75, 0.3) > 200
    page.drag(point(page, 0.9, 0.5), point(page, 1.4, 0.5))
    assert split(page) == 100


def test_the_keyboard_moves_the_divider_and_the_picture(page: Page) -> None:
    assert page.value("[divider.getAttribute('role'), divider.tabIndex].join()") == "slider,0"
    page.value("divider.focus()")
    assert page.value("document.activeElement.id") == "divider"
    for _ in range(3):
        page.press("PageDown")
    page.press("ArrowLeft")
    assert split(page) == 19
    assert brightness(page, 0.25, 0.3) < 50
    page.press("End")
    assert split(page) == 100
    assert brightness(page, 0.75, 0.3) > 200
    page.press("Home")
    page.press("ArrowRight")
    assert split(page) == 1
    assert page.value("divider.getAttribute('aria-valuetext')") == "1 % input"


def test_zoom_keeps_the_place_and_can_be_moved(page: Page) -> None:
    assert brightness(page, 0.25, 0.3) > 200
    x, y = point(page, 0.25, 0.9)
    for count in (1, 2):
        for kind in ("mousePressed", "mouseReleased"):
            page.call(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=count
            )
    assert page.value("document.getElementById('zoom-level').textContent") == "2.0×"
    page.value("divider.focus()")
    page.press("End")
    # (0.25, 0.9) stays, so 0.3 shows what was at 0.9 - 0.6 / 2 = 0.6: below the middle, dark.
    assert brightness(page, 0.25, 0.3) < 50
    page.drag(point(page, 0.5, 0.3), point(page, 0.5, 0.7))  # 0.2 of the picture down
    assert brightness(page, 0.25, 0.3) > 200
    assert split(page) == 100
    click(page, "zoom-fit")
    assert page.value("document.getElementById('zoom-level').textContent") == "1.0×"


def test_zoom_by_buttons_keys_and_fingers(page: Page) -> None:
    level = "document.getElementById('zoom-level').textContent"
    bar = "document.querySelector('#scalebar b').textContent"
    assert page.value(bar) == "1 µm"  # 64 × 62.6 nm across, a quarter of it at most
    click(page, "zoom-in")
    click(page, "zoom-in")
    assert page.value(level) == "4.0×"
    assert page.value(bar) == "200 nm"
    click(page, "zoom-out")
    assert page.value(level) == "2.0×"
    page.value("stage.focus()")
    page.press("+")
    assert page.value(level) == "4.0×"
    page.press("0")
    assert page.value(level) == "1.0×"
    for kind, spread in (("touchStart", 0.1), ("touchMove", 0.15), ("touchMove", 0.2)):
        fingers = [point(page, 0.5 - spread, 0.5), point(page, 0.5 + spread, 0.5)]
        touches = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(fingers)]
        page.call("Input.dispatchTouchEvent", type=kind, touchPoints=touches)
    page.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    assert page.value(level) == "2.0×"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_is_quiet_and_fits(
    browser: Page, file: Path, width: int, height: int, scheme: str
) -> None:
    browser.open(file, width, height, scheme, mobile=width < 500)
    assert browser.value("document.documentElement.scrollWidth") == width
    ground = browser.value("getComputedStyle(document.body).backgroundColor")
    levels = [int(part) for part in ground.strip("rgb()").split(",")]
    assert max(levels) < 40 if scheme == "dark" else min(levels) > 230
    letters = "[...document.querySelectorAll('.chart text')].map(t => t.getBoundingClientRect())"
    assert min(browser.value(f"{letters}.map(r => r.height)")) >= 11
    assert browser.value("Math.min(...[...document.images].map(i => i.naturalWidth))") > 0
    complaints = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
    assert [event for event in browser.events if event["method"] in complaints] == []
    asked = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert asked[0] == file.as_uri()
    assert all(address.startswith("data:") for address in asked[1:])
