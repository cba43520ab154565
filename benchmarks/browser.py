"""Opens a page of results in a real browser, without a screen, and checks that it works.

python -m benchmarks.browser results/mine/all-*.html
python -m benchmarks.browser page.html --screenshots out/shots

Every table is sorted by a click on each head, both ways, and filtered; what the script writes to the console,
and any error in it, is reported. Needs Chromium, Chrome or Edge on the path, or ``--browser``. Exits with 1
if anything is wrong.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge", "microsoft-edge")
WIDTHS = (1280, 480)

#: Before the page's own script: whatever goes wrong is kept.
BEFORE = """<script>
window.found = {errors: [], tables: {}};
addEventListener("error", (event) => found.errors.push(event.message));
for (const kind of ["error", "warn"]) console[kind] = (...words) => found.errors.push(words.join(" "));
</script>"""

#: After it: every table is sorted and filtered, and the findings are left in the page.
AFTER = """<script>
const key = (row, i) => row.cells[i].dataset.value === undefined
  ? row.cells[i].textContent : Number(row.cells[i].dataset.value);
const ordered = (values, down) => values.every((value, i) => {
  if (!i) return true;
  const [a, b] = down ? [value, values[i - 1]] : [values[i - 1], value];
  return typeof a === "number" ? a <= b : a.localeCompare(b) <= 0;
});
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], count = body.rows.length, wrong = [];
  [...table.tHead.rows[0].cells].forEach((head, i) => {
    for (const down of [false, true]) {
      head.querySelector("button").click();
      const values = [...body.rows].map((row) => key(row, i)).filter((v) => v !== "" && !Number.isNaN(v));
      if (!ordered(values, down)) wrong.push(`${head.textContent} ${down ? "descending" : "ascending"}`);
      if (head.getAttribute("aria-sort") !== (down ? "descending" : "ascending")) wrong.push("no mark");
    }
  });
  if (body.rows.length !== count) wrong.push("rows were lost");
  const tools = document.querySelector(`.tools[data-for="${table.id}"]`);
  if (tools) {
    const visible = () => [...body.rows].filter((row) => row.getClientRects().length).length;
    const input = tools.querySelector("input");
    const type = (text) => { input.value = text; input.dispatchEvent(new Event("input")); };
    type("no row has these words");
    if (visible() !== 0) wrong.push("the filter hides nothing");
    type(body.rows[0].cells[0].textContent);
    if (visible() < 1) wrong.push("the filter hides too much");
    type("");
    if (visible() !== count) wrong.push("the filter does not end");
    for (const choice of tools.querySelectorAll("select")) {
      choice.value = choice.options[choice.options.length - 1].value;
      choice.dispatchEvent(new Event("change"));
      if (visible() < 1) wrong.push(`the choice of ${choice.dataset.column} hides all`);
      choice.value = ""; choice.dispatchEvent(new Event("change"));
    }
  }
  found.tables[table.id] = wrong;
}
if (document.documentElement.scrollWidth > innerWidth) found.errors.push("the page is wider than the window");
for (const svg of document.querySelectorAll("svg")) {
  const box = svg.getBoundingClientRect();
  for (const part of svg.querySelectorAll("circle, text")) {
    const at = part.getBoundingClientRect();
    if (at.left < box.left - 2 || at.right > box.right + 2) found.errors.push(`outside its chart:
    ${part.textContent}`);
  }
}
document.body.insertAdjacentHTML("beforeend", "<pre id='found'></pre>");
document.getElementById("found").textContent = JSON.stringify(found);
</script>"""


def find(named: str | None = None) -> str:
    """The browser's program; raises a sentence if there is none."""
    path = shutil.which(named) if named else next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise SystemExit(f"--browser: none found, looked for {named or ', '.join(BROWSERS)}")
    return path


def check(page: Path, browser: str, width: int = WIDTHS[0]) -> dict[str, Any]:
    """What went wrong in the page: ``errors``, and by table what did not sort or filter."""
    text = page.read_text(encoding="utf-8").replace("<body>", f"<body>{BEFORE}", 1)
    text = text.replace("</body>", f"{AFTER}</body>", 1)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "page.html"
        copy.write_text(text, encoding="utf-8")
        done = _run(browser, [f"--window-size={width},1000", "--dump-dom", copy.as_uri()])
    found = re.search(r'<pre id="found">(.*?)</pre>', done, re.DOTALL)
    if not found:
        return {"errors": ["the page's script did not reach its end"], "tables": {}}
    result: dict[str, Any] = json.loads(unescape(found[1]))
    return result


def screenshot(page: Path, browser: str, folder: Path, width: int) -> Path:
    """A picture of the page; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = (folder / f"{page.stem}-{width}.png").resolve()
    _run(
        browser,
        [f"--window-size={width},4000", "--hide-scrollbars", f"--screenshot={path}", page.resolve().as_uri()],
    )
    return path


def _run(browser: str, arguments: Sequence[str]) -> str:
    # A container's root has no sandbox of its own; the page is a local file that we wrote.
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--browser", help=f"by default the first of {', '.join(BROWSERS)}")
    parser.add_argument("--screenshots", type=Path, metavar="FOLDER", help="take pictures too")
    given = parser.parse_args(arguments)
    browser, status = find(given.browser), 0
    for page in given.pages:
        for width in WIDTHS:
            found = check(page, browser, width)
            wrong = [
                *found["errors"],
                *(f"{name}: {one}" for name, all_ in found["tables"].items() for one in all_),
            ]
            print(f"{page}, {width} wide: {len(found['tables'])} tables, " + ("; ".join(wrong) or "all well"))
            status |= bool(wrong) or not found["tables"]
            if given.screenshots:
                print(f"  {screenshot(page, browser, given.screenshots, width)}")
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
