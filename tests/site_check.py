"""Looks at the built documentation as its readers do: `python -m tests.site_check FOLDER`.

In a headless Chromium, light and dark, at the width of a desktop and of a phone: nothing is
fetched from elsewhere, nothing is complained of, nothing is wider than the screen, text stands out
from its ground (WCAG 2.2, AA), and Tab reaches everything that can be used. Each page is loaded
once, and follows as the screen and its colours change.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.verify.chromium import Page, chromium

SIZES = ((1280, 900, False), (390, 844, True))

CONTRAST = Path(__file__).with_name("site_contrast.js").read_text("utf-8")
DARK = "document.body.dataset.mdColorScheme === 'slate'"
# No colour is half-way from one to the other when it is measured; what Tab came to is marked.
PREPARED = """
document.head.append(Object.assign(document.createElement("style"),
  {textContent: "*, ::before, ::after { transition: none !important }"}));
document.addEventListener("focusin", event => event.target.dataset.reached = 1);
"""
SETTLED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))"
USABLE = """
[...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")].filter(
  e => e.checkVisibility({visibilityProperty: true}) && e.getClientRects().length && !e.disabled
    && e.tabIndex >= 0 && !e.closest("[hidden]") && (e.type !== "radio" || e.checked))
"""


def check(folder: Path) -> list[str]:
    """What a reader would stumble over; empty where all is well."""
    handler = partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    origin = f"http://127.0.0.1:{server.server_port}/"
    pages = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("index.html"))
    assert len(pages) > 20, f"{folder} is no built site"
    faults = []
    with chromium() as browser:
        for name in pages:
            browser.visit(f"{origin}{name}", *SIZES[0][:2], "light", False)
            browser.value(PREPARED)
            faults += [f"{name}: Tab does not reach {one}" for one in _unreached(browser)]
            for width, height, phone in SIZES:
                for scheme in ("light", "dark"):
                    browser.emulate(width, height, scheme, phone)
                    browser.value(SETTLED)
                    place = f"{name} ({scheme}, {width})"
                    assert browser.value(DARK) == (scheme == "dark"), place
                    faults += [f"{place}: {fault}" for fault in _look(browser)]
            faults += [f"{name} {fault}" for fault in _reported(browser, origin)]
    server.shutdown()
    return faults


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def _reported(page: Page, origin: str) -> Iterator[str]:
    for event in page.events:
        method, told = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            url = told["request"]["url"]
            if not url.startswith((origin, "data:", "blob:")):
                yield f"fetches {url}"
        elif method == "Runtime.exceptionThrown":
            yield f"throws {told['exceptionDetails']['text']}"
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            yield f"complains: {told['entry']['text']}"


def _look(page: Page) -> Iterator[str]:
    wider = page.value("document.documentElement.scrollWidth - innerWidth")
    if wider > 0:
        yield f"is {wider} pixels wider than the screen"
    for text in page.value(CONTRAST):
        yield f"too faint: {text}"


def _unreached(page: Page) -> list[str]:
    """What Tab does not come to. It stops at more than what can be used: at text that scrolls."""
    left = f"{USABLE}.filter(e => !e.dataset.reached).map(e => e.outerHTML.slice(0, 90))"
    unreached: list[str] = page.value(left)
    for _ in range(3):
        page.tab(len(unreached) + 1)
        unreached = page.value(left)
    return unreached


if __name__ == "__main__":
    found = check(Path(sys.argv[1]))
    print("\n".join(found) or "Every page is readable, and nothing was fetched.")
    sys.exit(bool(found))
