"""Looks at the built site in a real browser, as a reader would, without a network.

python -m docs.builder.browse [folder]      screenshots go beside the folder

The front page, a search, a page of the course, dark mode, and every page at a phone's width: no error in the
console, nothing fetched from elsewhere, nothing wider than the screen.
"""

import argparse
import sys
from pathlib import Path

from docs.builder import browser
from docs.builder.browser import Tab

NO_BROWSER = (
    "no browser was found: install Chromium or Chrome (on Debian and Ubuntu: apt-get install chromium), or "
    "name one in CHROMIUM"
)
PHONE = 390
#: Brightness of the page, from 0 to 255.
BRIGHTNESS = """(() => {
    const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number);
    return (r + g + b) / 3;
})()"""
RESULTS = """new Promise(done => {
    const look = n => {
        const found = [...document.querySelectorAll('#search-results li a')].map(a => a.href);
        const over = document.querySelector('#search-results p.search-summary')?.innerText || '';
        found.length && /found|match/i.test(over) || !n ? done(found) : setTimeout(look, 50, n - 1);
    };
    look(200);
})"""


def faults(site: Path, shots: Path, tab: Tab) -> list[str]:
    """What is wrong, a sentence each."""
    found: list[str] = []

    def expect(holds: object, sentence: str) -> None:
        if not holds:
            found.append(sentence)

    def look(page: str, shot: str = "") -> None:
        tab.open(f"{site.as_uri()}/{page}")
        if shot:
            tab.screenshot(shots / f"{shot}.png")

    tab.size(1280, 900)
    tab.dark(False)
    look("index.html", "front")
    expect(tab.evaluate(BRIGHTNESS) > 200, "index.html: not light where the reader prefers light")
    tab.dark(True)
    look("index.html", "front-dark")
    expect(tab.evaluate(BRIGHTNESS) < 60, "index.html: not dark where the reader prefers dark")
    look("reference/ops.conv.html", "reference-dark")
    tab.dark(False)
    look("index.html")
    tab.evaluate("document.querySelector('.theme-toggle').click()")
    tab.evaluate("document.querySelector('.theme-toggle').click()")
    modes = tab.evaluate("document.body.dataset.theme")
    expect(modes in ("light", "dark"), f"index.html: the button leaves the theme at {modes}")
    tab.evaluate("localStorage.clear()")

    look("index.html")
    tab.mark = len(tab.events)
    tab.evaluate(
        "document.querySelector('.sidebar-search').value = 'conv_transpose';"
        "document.querySelector('.sidebar-search-container').submit()"
    )
    tab.wait("Page.loadEventFired")
    results = tab.evaluate(RESULTS)
    tab.screenshot(shots / "search.png")
    names = [Path(result.partition("#")[0].partition("?")[0]).name for result in results]
    for wanted in ("conv_transpose.html", "ops.conv_transpose.html"):
        expect(
            wanted in names[:5],
            f"search.html: {wanted} is not among the first results, which are {names[:5]}",
        )
    look("reference/conv_transpose.html", "reference")
    title = tab.evaluate("document.querySelector('h1').innerText")
    expect("conv_transpose" in title, f"reference/conv_transpose.html: its title is {title}")

    look("subject/upsampling.html", "course")
    widths = tab.evaluate("[...document.querySelectorAll('article img')].map(i => i.naturalWidth)")
    expect(widths and all(widths), f"subject/upsampling.html: pictures of widths {widths}")
    look("conventions.html", "conventions")

    tab.size(PHONE, 844, phone=True)
    for page in ("index", "start", "subject/upsampling", "reference/ops.conv_transpose", "conventions"):
        if (site / f"{page}.html").exists():
            look(f"{page}.html", f"phone-{page.replace('/', '-')}")
    for path in sorted(site.rglob("*.html")):
        page = path.relative_to(site).as_posix()
        if not page.startswith("_modules/"):
            look(page)
            wide = tab.evaluate("document.documentElement.scrollWidth")
            expect(wide <= PHONE, f"{page}: {wide} pixels wide on a screen of {PHONE}")
    seen = tab.seen()
    found += [f"an error in the console: {error}" for error in seen.errors]
    found += [f"fetched from elsewhere: {url}" for url in seen.requests]
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m docs.builder.browse", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("site", type=Path, nargs="?", default=Path("out/docs"))
    site = parser.parse_args(arguments).site.resolve()
    if not (site / "index.html").exists():
        print(f"{site}: there is no site here; make docs builds it", file=sys.stderr)
        return 1
    chosen = browser.find()
    if chosen is None:
        print(NO_BROWSER, file=sys.stderr)
        return 1
    shots = site.with_name(f"{site.name}-screens")
    with browser.tab(chosen) as tab:
        found = faults(site, shots, tab)
    for sentence in found:
        print(sentence, file=sys.stderr)
    if not found:
        print(f"every page reads well in {chosen}; screenshots are in {shots}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
