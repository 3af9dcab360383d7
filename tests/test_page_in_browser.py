"""The page of a run in a real browser: what a person sees, points at, sorts and reads, and what must never happen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import PROGRAM, Browser
from PIL import Image

import sterna
from sterna import report

EVIL = "<img src=x onerror=alert(1)>"
CLASSES = (EVIL, "stripes & co", "plain")
HOVER = "document.querySelectorAll('svg.map')[0]"

pytestmark = pytest.mark.skipif(not PROGRAM, reason="no Chromium on this machine (apt install chromium)")

# Every text on the page with the colour behind it, transparent backgrounds laid over one another; the least contrast
# by WCAG 2.1, (L1 + 0.05) / (L2 + 0.05) of relative luminances.
CONTRAST = """(() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, [r, g, b, a = 1]) =>
      under.map((v, at) => v * (1 - a) + [r, g, b][at] * a), [255, 255, 255]);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let worst = [Infinity, ""];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !element.getClientRects().length) continue;
    if (element.closest("script,style,title,.unseen")) continue;
    const style = getComputedStyle(element);
    const ink = parse(element.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(element))].sort((one, other) => other - one);
    const contrast = (a + 0.05) / (b + 0.05);
    const where = `${element.className.baseVal ?? element.className}: ${node.textContent.trim()}`;
    if (contrast < worst[0]) worst = [contrast, where];
  }
  return worst;
})()"""


def _drawn(kind: int, generator: np.random.Generator) -> np.ndarray:
    """A small picture of noise, of stripes, or of one colour."""
    made = generator.integers(0, 90, (24, 24, 3))
    if kind == 0:
        made += generator.integers(0, 160, (24, 24, 3))
    if kind == 1:
        made[:: generator.integers(2, 6)] += 150
    return made.astype(np.uint8)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on small pictures whose classes and files have names that are markup."""
    place = tmp_path_factory.mktemp("page")
    generator = np.random.default_rng(0)
    for kind, name in enumerate(CLASSES):
        (place / "pictures" / name).mkdir(parents=True)
        for number in range(14):
            Image.fromarray(_drawn(kind if number else 2 - kind, generator)).save(
                place / "pictures" / name / f"{number}{EVIL if number == 1 else ''}.png"
            )
    settings = "floors=classical, mitigate=false, refit=0, test=0.3"
    words = {"encoder": "builtin:glyphs", "tune": "probe, partial", "schedule": "epochs=2"}
    sterna.fit(place / "pictures", **words, settings=settings, out=place / "run")
    ranked = {"candidates": [{"reference": EVIL, "scores": {EVIL: {"value": 1.0, "z": 3.0}}}], "sentences": [EVIL]}
    (place / "run" / "rank.json").write_text(json.dumps(ranked))
    return place / "run"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests, without a network."""
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def page(run: Path, chromium: Browser) -> Browser:
    """The page freshly opened on a desktop, in light colours, with scripts."""
    chromium.size(1200, 900)
    chromium.scheme("light")
    chromium.script(True)
    chromium.requests.clear()
    chromium.dialogs.clear()
    chromium.blocked.clear()
    chromium.complaints.clear()
    chromium.open(report.write(run))
    return chromium


def test_names_that_are_markup_stay_text_and_nothing_is_fetched(page: Browser, run: Path) -> None:
    assert page.run("document.body.innerText").count(EVIL) > 10
    assert page.run("document.querySelectorAll('img, iframe, object, link').length") == 0
    assert page.run("document.querySelectorAll('[onerror], [src]').length") == 0
    assert page.dialogs == []
    assert page.complaints == []
    assert {one for one in page.requests if not one.startswith("data:image/")} == {(run / "report.html").as_uri()}


def test_the_policy_of_the_page_forbids_what_it_does_not_hold(page: Browser) -> None:
    """What a script or a picture would meet that found its way in, past the escaping that the test above holds."""
    page.run("""new Promise((done) => { const made = document.createElement('script');
      made.textContent = 'window.ran = true'; document.body.append(made);
      const seen = document.createElement('img'); seen.onerror = done; seen.src = 'https://example.org/x.png';
      document.body.append(seen); }).then(() => null)""")
    assert page.run("window.ran === undefined") is True
    assert page.blocked == ["csp"]
    assert sum("Content Security Policy" in one for one in page.complaints) == 2


def test_pointing_at_the_map_shows_the_example(page: Browser, run: Path) -> None:
    known = {one["name"] for one in json.loads((run / "evidence.json").read_text())["items"]}
    page.run(f"{HOVER}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    x, y = page.run(f"""(() => {{ const box = {HOVER}.querySelector('path[data-i]').getBoundingClientRect();
      return [box.x + box.width / 2, box.y + box.height / 2]; }})()""")
    page.point(x, y)
    shown = page.run(
        "Array.from(document.querySelectorAll('.tip')).filter((tip) => !tip.hidden).map((tip) => tip.innerText)"
    )
    assert len(shown) == 1
    assert any(name in shown[0] for name in known)
    assert any(name in shown[0] for name in CLASSES)
    assert page.run("document.querySelectorAll('.tip:not([hidden]) svg use').length") == 1
    assert page.run("document.querySelectorAll('.map path.here').length") == page.run(
        "document.querySelectorAll('.map').length"
    )
    page.point(2, 2)
    assert page.run("document.querySelectorAll('.tip:not([hidden])').length") == 0


def test_the_map_is_walked_with_arrow_keys(page: Browser) -> None:
    page.run(f"{HOVER}.focus({{focusVisible: true}})")
    page.press("ArrowRight")
    first = page.run("document.querySelector('.tip:not([hidden])').innerText")
    for _ in range(3):
        page.press("ArrowRight")
    assert page.run("document.querySelector('.tip:not([hidden])').innerText") != first
    page.press("Escape")
    assert page.run("document.querySelectorAll('.tip:not([hidden])').length") == 0


def _column(place: int) -> str:
    """The values of a column of the first table, in the order in which they stand."""
    return f"""Array.from(document.querySelector('#routes table').tBodies[0].rows)
      .map((row) => Number(row.cells[{place}].dataset.v))"""


def test_a_table_is_sorted_by_a_click_and_by_enter(page: Browser) -> None:
    heads = page.run("Array.from(document.querySelectorAll('#routes thead th')).map((head) => head.innerText.trim())")
    place = heads.index("log loss")
    before = page.run(_column(place))
    assert len(set(before)) > 1
    button = f"document.querySelectorAll('#routes thead th')[{place}].querySelector('button')"
    page.run(f"{button}.scrollIntoView({{block: 'center', inline: 'center', behavior: 'instant'}})")
    x, y = page.run(
        f"(() => {{ const box = {button}.getBoundingClientRect(); return [box.x + 5, box.y + box.height / 2]; }})()"
    )
    page.point(x, y, click=True)
    assert page.run(_column(place)) == sorted(before, reverse=True)
    assert page.run(f"{button}.closest('th').getAttribute('aria-sort')") == "descending"
    page.run(f"{button}.focus()")
    page.press("Enter")
    assert page.run(_column(place)) == sorted(before)
    assert page.run(f"{button}.closest('th').getAttribute('aria-sort')") == "ascending"


def test_a_phone_scrolls_only_down(page: Browser) -> None:
    page.size(390, 800)
    assert page.run("document.documentElement.scrollWidth") == 390
    outside = page.run("""Array.from(document.querySelectorAll('main *, header *'))
      .filter((one) => !one.closest('.wide, pre, .unseen, svg') && one.getBoundingClientRect().right > 391)
      .map((one) => one.outerHTML.slice(0, 80))""")
    assert outside == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(page: Browser, scheme: str) -> None:
    page.scheme(scheme)
    background = page.run("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") is (scheme == "light")
    page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    contrast, where = page.run(CONTRAST)
    assert contrast >= 4.5, where


def test_tab_reaches_every_kind_of_control_and_shows_where_it_is(page: Browser) -> None:
    reached: dict[str, bool] = {}
    for _ in range(400):
        page.press("Tab")
        found = page.run("""(() => { const at = document.activeElement, style = getComputedStyle(at);
          if (at === document.body) return null;
          const kinds = {skip: '.skip', section: 'nav a', sort: 'th button', map: 'svg.map', class: '.legend button',
            copy: '.copier', details: 'summary', scrolled: '.wide, pre'};
          const kind = Object.keys(kinds).find((one) => at.matches(kinds[one])) || at.outerHTML.slice(0, 60);
          return [kind, style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2]; })()""")
        if found is None:
            break
        reached[found[0]] = reached.get(found[0], True) and found[1]
    assert reached == dict.fromkeys(("skip", "section", "sort", "map", "class", "copy", "details", "scrolled"), True)


def test_without_scripts_the_essentials_are_there(run: Path, chromium: Browser) -> None:
    chromium.script(False)
    chromium.size(1200, 900)
    chromium.open(report.write(run))
    result = json.loads((run / "result.json").read_text())
    told = chromium.run("document.querySelector('.lead').innerText")
    assert told == result["verdict"]["sentence"]
    routes = chromium.run(
        "Array.from(document.querySelectorAll('#routes tbody tr')).map((row) => row.cells[0].innerText)"
    )
    assert sorted(routes) == sorted({one["name"] for one in result["routes"]})
    cells = chromium.run(
        "Array.from(document.querySelectorAll('table.confusion tbody td')).map((cell) => cell.innerText)"
    )
    counts = [int(cell) for cell in cells if cell.isdigit()]
    assert sum(counts) == result["routes"][0]["n"]
    assert chromium.run("document.querySelectorAll('th button, .copier, .tip').length") == 0, "the script did run"
    assert chromium.run("document.querySelectorAll('svg.map path title').length") > 30
