"""Chromium, a made store, and the page on each kind of host."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Response, expect, sync_playwright

from atlas.catalogue import Catalogue
from atlas.catalogue import open as open_catalogue
from atlas.server import app_of
from atlas.server.serving import APP
from tests.collected import collect_into
from tests.hosts import atlas_host, static_host
from tests.stores import STRANGE, make_store

LAYERS = {"features.3": 640, STRANGE: 33, "classifier.1": 10}
"""The first has thumbnails in two Zarr shards and more rows than any window."""
COLLECTED = {"features.3": 70, STRANGE: 33, "classifier.1": 10}
"""Layers of the store that images were shown to."""
WAIT = 15_000
"""How long a page may take on a busy machine, milliseconds."""
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.fail("There is no Chromium to open the page in. Install it: apt-get install chromium", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS, headless=True)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """An empty window. Afterwards: no error in any script, and nothing asked of the world outside."""
    context = chromium.new_context(viewport={"width": 1280, "height": 860})
    page, errors, asked = context.new_page(), [], []
    page.set_default_timeout(WAIT)
    expect.set_options(timeout=WAIT)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    context.close()
    assert errors == []
    assert [url for url in asked if not url.startswith(("http://127.0.0.1:", "blob:http://127.0.0.1:", "data:"))] == []


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder of the built page."""
    if not (APP / "index.html").is_file():
        pytest.fail(f"The page is not built: there is no {APP / 'index.html'}. Build it: make viewer", pytrace=False)
    return APP


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as a build leaves it; two shards of its largest layer are asked for and not done."""
    place = tmp_path_factory.mktemp("stores") / "made.atlas"
    make_store(place, layers=LAYERS, size=128, absent={"features.3": [3, 4]}, title="A made network", labels=1000)
    return place


@pytest.fixture(scope="session")
def catalogue(store: Path) -> Catalogue:
    """The same store, as Python sees it."""
    return open_catalogue(store)


@pytest.fixture(scope="session")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with pictures and everything that 40 images leave behind, two crops of each."""
    place = tmp_path_factory.mktemp("collected") / "made.atlas"
    collect_into(make_store(place, layers=COLLECTED, size=64, labels=10), images=40, crops=2)
    return place


@contextmanager
def tree(folder: Path, built: Path, store: Path) -> Iterator[Path]:
    """The page with the store beside it: what a static host is given."""
    shutil.copytree(built, folder)
    (folder / "store").symlink_to(store, target_is_directory=True)
    yield folder


@pytest.fixture(scope="session")
def ours(built: Path, store: Path) -> Iterator[str]:
    """Where `atlas serve` shows the made store."""
    with atlas_host(app_of(store, built)) as here:
        yield here


@pytest.fixture(scope="session")
def theirs(built: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a static host that is not ours shows it."""
    with tree(tmp_path_factory.mktemp("host") / "tree", built, store) as folder, static_host(folder) as here:
        yield here


@pytest.fixture(scope="session")
def collected_ours(built: Path, collected: Path) -> Iterator[str]:
    """Where `atlas serve` shows the store with images."""
    with atlas_host(app_of(collected, built)) as here:
        yield here


@pytest.fixture(scope="session")
def collected_theirs(built: Path, collected: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a static host that is not ours shows it."""
    with tree(tmp_path_factory.mktemp("host") / "tree", built, collected) as folder, static_host(folder) as here:
        yield here


@pytest.fixture(params=["ours", "theirs"])
def here(request: pytest.FixtureRequest) -> str:
    """Both, one after the other."""
    return str(request.getfixturevalue(f"collected_{request.param}"))


@pytest.fixture(params=["ours", "theirs"])
def address(request: pytest.FixtureRequest) -> str:
    """Both, one after the other."""
    return str(request.getfixturevalue(request.param))


def answers_of(page: Page) -> list[Response]:
    """Every answer that the page gets from now on."""
    answers: list[Response] = []

    def note(answer: Response) -> None:
        answers.append(answer)

    page.on("response", note)
    return answers
