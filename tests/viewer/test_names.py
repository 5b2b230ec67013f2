"""Stores whose names, labels and paths are hostile: on the page they are words, and nothing else."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from atlas.catalogue import open as open_catalogue
from atlas.catalogue import write_index
from atlas.server import app_of
from atlas.units import Unit
from tests.collected import collect_into
from tests.hosts import atlas_host
from tests.stores import IDENTITY, make_store
from tests.viewer.test_damage import DOWN

pytestmark = pytest.mark.browser

MARKUP = "<img src=x onerror=\"window.taken=1\"><script>window.taken=1</script>{@html '<b>'}</title>"
TURNED = "cat\u202egpj.exe\u2066\u200b\x07\x1b[2J"
SEEN = "cat\\u202egpj.exe\\u2066\\u200b\\x07\\x1b[2J"
"""The same as it is shown."""
LONG = "x" * 3000
SPACED = "word " * 400
COMMAND = "'; touch taken #$(touch taken)`touch taken`"
LAYERS = {MARKUP: 12, TURNED: 12, LONG[:240]: 12, COMMAND: 12, "javascript:alert(1)": 12}
LABELS = [
    MARKUP,
    TURNED,
    LONG,
    SPACED,
    "קטן, מאוד",
    "a\r\nb",
    "",
    "\ud800".encode("utf-8", "replace").decode(),
    COMMAND,
    "plain",
]
SPEC = f"{MARKUP} {COMMAND}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hostile") / "made.atlas"
    identity = type(IDENTITY)(SPEC, IDENTITY.weights, IDENTITY.preprocessing)
    title = f"{TURNED} {MARKUP} {LONG}"
    made = make_store(place, layers=LAYERS, size=16, identity=identity, title=title, note=MARKUP + TURNED, labels=10)
    made.put_labels(LABELS)
    collect_into(made, images=12)
    write_index(made)
    return place


@pytest.fixture(scope="module")
def here(built: Path, store: Path) -> Iterator[str]:
    with atlas_host(app_of(store, built)) as address:
        yield address


def segment(name: str) -> str:
    return quote(name, safe="!'()*~")


ROUTES = ["#/", *(f"#/{segment(name)}{end}" for name in LAYERS for end in ("", ":3")), "#/images/", "#/images/2"]
ROUTES += [f"#/classes/{number}" for number in range(4)]
ROUTES += [
    f"#/{segment(COMMAND)}/atlas",
    f"#/{segment(MARKUP + TURNED)}",
    f"#/{segment(TURNED)}:99",
    f"#/x:y/{TURNED}:",
]


def test_no_word_of_a_store_is_more_than_a_word(page: Page, here: str) -> None:
    unseen = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069]")
    for route in ROUTES:
        page.goto("about:blank")
        page.goto(f"{here}{route}")
        expect(page.get_by_role("heading", level=1).first).to_be_visible()
        page.wait_for_load_state("networkidle")
        page.evaluate(DOWN)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("window.taken") is None
        assert page.locator("img[src=x], main script, main b:has-text('@html')").count() == 0
        assert not unseen.search(page.locator("body").inner_text()), route
        assert not unseen.search(page.title()), route
        assert len(page.title()) < 400
        links = page.locator("a[href]").evaluate_all("links => links.map(link => link.getAttribute('href'))")
        assert [link for link in links if not re.match(r"#/|\./?$|blob:", link)] == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_no_word_is_wider_than_the_window(page: Page, here: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for route in ROUTES:
        page.goto("about:blank")
        page.goto(f"{here}{route}")
        expect(page.get_by_role("heading", level=1).first).to_be_visible()
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, route


def test_what_cannot_be_seen_is_written_out(page: Page, here: str) -> None:
    page.goto(f"{here}#/{segment(TURNED)}")
    expect(page.get_by_role("heading", level=1)).to_have_text(SEEN)
    page.goto(f"{here}#/classes/1")
    expect(page.get_by_role("heading", level=1)).to_have_text(SEEN)
    page.goto(f"{here}#/classes/5")
    expect(page.get_by_role("heading", level=1)).to_have_text("a\\x0d\\x0ab")
    page.goto(f"{here}#/classes/4")
    expect(page.get_by_role("heading", level=1)).to_have_text("קטן, מאוד")


def test_a_name_on_the_page_opens_the_same_unit_in_python(page: Page, here: str, store: Path) -> None:
    catalogue = open_catalogue(store)
    for name in LAYERS:
        page.goto(f"{here}#/{segment(name)}:3")
        written = re.search(r"\[(\".*\")\]", page.locator("pre").text_content() or "")
        assert written is not None
        assert catalogue.unit(ast.literal_eval(written[1])).unit == Unit(name, 3)


def test_a_suggested_command_has_the_stores_words_quoted(page: Page, here: str) -> None:
    page.goto(f"{here}#/{segment(COMMAND)}/atlas")
    command = page.locator("code", has_text="atlas build").inner_text()
    assert shlex.split(command)[:2] == ["atlas", "build"]
    assert shlex.split(command)[2] == SPEC
    assert shlex.split(command)[-3] == COMMAND
