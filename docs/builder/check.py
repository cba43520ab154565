"""Checks a built site without a browser: links, anchors, and that nothing comes from elsewhere."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

#: Attributes that load something at once.
LOADING = {("script", "src"), ("link", "href"), ("img", "src"), ("source", "src"), ("iframe", "src")}


class Page(HTMLParser):
    """The links and ids of one page, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if name == "id":
                self.ids.add(value)
            elif (tag, name) in LOADING:
                self.loads.append(value)
            elif name == "href" and tag == "a":
                self.links.append(value)


def faults(site: Path) -> list[str]:
    """What is wrong with a built site, a sentence each."""
    site = site.resolve()
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = [fault for path, page in pages.items() for fault in _of_page(site, path, page, pages)]
    for sheet in sorted(site.rglob("*.css")):
        for url in re.findall(
            r"(?:url\(|@import )[\"']?(https?:[^\"')]+)", sheet.read_text(encoding="utf-8")
        ):
            found.append(f"{sheet.relative_to(site)}: loads {url} from elsewhere")
    index = site / "searchindex.js"
    if not index.exists() or "conv_transpose" not in index.read_text(encoding="utf-8"):
        found.append("searchindex.js: conv_transpose can't be found")
    return found


def _of_page(site: Path, path: Path, page: Page, pages: dict[Path, Page]) -> Iterator[str]:
    where = path.relative_to(site)
    for url in page.loads:
        if re.match(r"(https?:)?//", url):
            yield f"{where}: loads {url} from elsewhere"
    for url in page.links + page.loads:
        if re.match(r"[a-z]+:|//", url):
            continue
        file, _, anchor = unquote(url).partition("#")
        goal = (path.parent / file.partition("?")[0]).resolve() if file.partition("?")[0] else path
        goal = goal / "index.html" if goal.is_dir() else goal
        if not goal.exists():
            yield f"{where}: {url} leads nowhere"
        elif anchor and goal in pages and anchor not in pages[goal].ids:
            yield f"{where}: {url} leads to no such place on the page"
