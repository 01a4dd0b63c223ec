"""The documentation site: its navigation, and the check of links to files outside docs/; the issue forms."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
_CONFIG = """
site_name: test
theme: {name: material, font: false}
hooks: [docs/site_hooks.py]
exclude_docs: "*.py"
validation: {anchors: warn}
nav: [index.md, page.md]
plugins: [search, autorefs]
"""


def _pages(entry) -> set[str]:
    if isinstance(entry, str):
        return {entry}
    return set().union(*map(_pages, entry.values() if isinstance(entry, dict) else entry))


def test_navigation_has_every_page():
    named = _pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert named == pages | {"index.md"}, "index.md is README.md"


@pytest.mark.parametrize("name", ["bug", "feature", "question"])
def test_issue_form_is_complete(name):
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{name}.yml").read_text(encoding="utf-8"))
    assert form["name"] and form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert all(field["attributes"]["label"] for field in fields)
    assert len({field["id"] for field in fields}) == len(fields) > 0


def _build_arguments() -> list[str]:
    """The arguments with which `make docs` calls MkDocs: some options hide warnings, which are then no failures."""
    (arguments,) = re.findall(r"-m mkdocs (build.*)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    return arguments.split()


@pytest.fixture
def site(tmp_path):
    """A function that builds a site of README.md, docs/page.md and files beside docs/, as `make docs` does."""
    for module in ("mkdocs", "material"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: it is in the extra docs")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "site_hooks.py").write_bytes((ROOT / "docs" / "site_hooks.py").read_bytes())
    (tmp_path / "mkdocs.yml").write_text(_CONFIG)
    (tmp_path / "source.py").write_text("# The source\n")
    (tmp_path / "notes.md").write_text("# Notes\n\n## A part\n\n[data](data.json)\n")
    (tmp_path / "data.json").write_text("{}")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "README.md").write_text("# A folder\n")

    def build(readme: str, page: str) -> tuple[bool, str]:
        (tmp_path / "README.md").write_text(readme)
        (tmp_path / "docs" / "page.md").write_text(page)
        command = [sys.executable, "-m", "mkdocs", *_build_arguments()]
        environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done.returncode == 0, done.stderr

    build.folder = tmp_path / "site"
    return build


def test_links_outside_docs_work(site):
    readme = "# Front\n\n[page](docs/page.md#top)\n\n```sh\ncat [x](docs/nothing.md)\n```\n"
    page = "# Top\n\n[source](../source.py), [part](../notes.md#a-part), [front](../README.md), [folder](../folder/)\n"
    passed, log = site(readme, page)
    assert passed, log
    html = (site.folder / "page" / "index.html").read_text(encoding="utf-8")
    targets = ("../repository/source.py/", "../repository/notes/#a-part", '".."', "../repository/folder/")
    assert all(target in html for target in targets), html
    front = (site.folder / "index.html").read_text(encoding="utf-8")
    assert "page/#top" in front and "cat [x](docs/nothing.md)" in re.sub("<[^>]*>", "", front)
    assert (site.folder / "repository" / "data.json").read_text() == "{}"


def test_site_loads_nothing_from_other_hosts(site):
    passed, log = site("# Front\n", "# Top\n")
    assert passed, log
    html = (site.folder / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r"<(?:script|img|iframe)[^>]*src=[\"']?(?:https?:)?//|url\((?:https?:)?//", html)
    assert not re.findall(r"<link[^>]*rel=[\"']?(?:stylesheet|preconnect|icon)[^>]*(?:https?:)?//[^>]*", html)


@pytest.mark.parametrize(
    ("link", "named"),
    [
        ("../missing.py", "missing.py"),
        ("../notes.md#no-such-part", "#no-such-part"),
        ("nowhere.md", "nowhere.md"),
        ("#nowhere", "#nowhere"),
    ],
)
@pytest.mark.parametrize("form", ["[text]({})", "[text][x]\n\n[x]: {}"])
def test_broken_link_fails_the_build(site, form, link, named):
    passed, log = site("# Front\n", f"# Top\n\n{form.format(link)}\n")
    assert not passed and named in log, log


@pytest.mark.parametrize(
    ("html", "named"),
    [('<img src="docs/missing.jpg">', "docs/missing.jpg"), ('<a href="docs/page.md">page</a>', "docs/page.md")],
)
def test_broken_html_link_fails_the_build(site, html, named):
    passed, log = site(f"# Front\n\n{html}\n", "# Top\n")
    assert not passed and named in log, log


def test_html_image_of_the_readme_works(site):
    (site.folder.parent / "docs" / "photo.jpg").write_bytes(b"a picture")
    passed, log = site('# Front\n\n<p>\n<img alt="a" src="docs/photo.jpg" width="9">\n</p>\n', "# Top\n")
    assert passed, log
    assert 'src="photo.jpg"' in (site.folder / "index.html").read_text(encoding="utf-8")


def test_indices_are_not_links(site):
    passed, log = site("# Front\n", "# Top\n\nS[y + k][x + i] and `H[y][x]`\n")
    assert passed, log
    html = (site.folder / "page" / "index.html").read_text(encoding="utf-8")
    assert "S[y + k][x + i] and <code>H[y][x]</code>" in html
