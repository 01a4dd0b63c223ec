"""Adds the files that pages link to outside docs/ to the site, and makes README.md its front page.

On a hosting site `../configs/people.py` is a link into the repository. The built site has no repository beside it, so
each such file becomes a part of the site: Markdown and source files as pages, all others as they are. A link to a
missing file is a warning, which `mkdocs build --strict` turns into a failure.
"""

import posixpath
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files, InclusionLevel
from pymdownx.slugs import slugify

_log = get_plugin_logger("site_hooks")
_ROOT = Path(__file__).resolve().parents[1]
# A code block, code within a line, a comment; or the target of a link or image, in Markdown or HTML.
_LINK = re.compile(
    r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)[ \t]*$|(?P<code>`+)[^`].*?(?P=code)|<!--.*?-->"
    r"|(?P<before>\]\(<?|^\[[^\]\n]+\]:[ \t]+|<(?:a|img|source)\b[^>]*?\s(?:href|src|srcset)=[\"'])"
    r"(?P<target>[^)>\s\"']+)",
    re.MULTILINE | re.DOTALL,
)
# A code block, code within a line; or the second part of `H[y][x]`, which MkDocs takes for a link to the heading x.
_INDEX = re.compile(
    r"^(`{3,}|~{3,}).*?^\1[ \t]*$|(`+)[^`].*?\2|(?<=\])(?P<index>\[[^\]\n]+\])", re.MULTILINE | re.DOTALL
)
# Languages of the code blocks that source files are shown in.
_LANGUAGES = {
    ".py": "python",
    ".toml": "toml",
    ".cff": "yaml",
    ".yml": "yaml",
    ".yaml": "yaml",
    ".txt": "text",
    "": "text",
}
# Folder of the site for files outside docs/.
_FOLDER = "repository"


def rewrite_links(text: str, change: Callable[[str, bool], str]) -> str:
    """The Markdown text with the path of each relative link passed through `change`; code blocks stay as they are.

    The second argument of `change` is whether the link is in an HTML tag, where MkDocs neither checks nor changes it.
    """

    def replace(match: re.Match[str]) -> str:
        target = match["target"]
        if target is None or target.startswith(("#", "/")) or re.match(r"[a-z]+:", target):
            return match[0]
        path, mark, anchor = target.partition("#")
        return match["before"] + change(path, match["before"].startswith("<")) + mark + anchor

    return _LINK.sub(replace, text)


def site_path(path: str) -> str:
    """The source path in the site of a file, from its path in the repository.

    >>> site_path("docs/predict.md"), site_path("README.md"), site_path("configs/people.py")
    ('predict.md', 'index.md', 'repository/configs/people.py.md')
    """
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    shown = PurePosixPath(path).suffix in _LANGUAGES
    return f"{_FOLDER}/{path}.md" if shown else f"{_FOLDER}/{path}"


def links_of(text: str, path: str) -> list[str]:
    """The paths in the repository that a page links to; `path` is the page's own."""
    found: list[str] = []

    def note(target: str, in_html: bool) -> str:
        linked = _joined(path, target)
        found.append(linked)
        if in_html and linked.endswith(".md"):
            _log.warning(f"{path} links to {linked} in HTML, which has no effect in the site; use Markdown")
        elif in_html and not (_ROOT / linked).exists():
            _log.warning(f"{path} links to {linked}, which is missing")
        return target

    rewrite_links(text, note)
    return found


def page_text(text: str, path: str) -> str:
    """A Markdown file of the repository as the text of a page of the site, with its links rewritten."""
    folder = posixpath.dirname(site_path(path))
    if not re.search(r"^\[[^\]\n]+\]:", text, re.MULTILINE):  # there are no reference links
        text = _INDEX.sub(lambda match: f"\\{match[0]}" if match["index"] else match[0], text)
    return rewrite_links(text, lambda target, _: posixpath.relpath(site_path(_joined(path, target)), folder or "."))


def _joined(path: str, target: str) -> str:
    """The path in the repository that a page's link leads to; of a folder, its README.md."""
    linked = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return posixpath.normpath(f"{linked}/README.md") if (_ROOT / linked / "README.md").is_file() else linked


def _source_page(path: str, text: str) -> str:
    language = _LANGUAGES[PurePosixPath(path).suffix]
    return f"---\nsearch:\n  exclude: true\n---\n# `{path}`\n\n`````{language}\n{text.rstrip()}\n`````\n"


def on_config(config: MkDocsConfig) -> None:
    """Gives headings the anchors that hosting sites give them, so that a link with an anchor works on both."""
    options: dict[str, Any] = config.mdx_configs.setdefault("toc", {})
    options["slugify"] = slugify(case="lower")


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds README.md and all files that pages link to outside docs/, directly or through other such files."""
    pages = [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    waiting = ["README.md", *(path for page in pages for path in links_of((_ROOT / page).read_text("utf-8"), page))]
    while waiting:
        path = waiting.pop()
        file, name = _ROOT / path, site_path(path)
        if path.startswith(("docs/", "..")) or files.get_file_from_path(name):
            continue  # MkDocs checks links within docs/
        if not file.is_file():
            if not file.is_dir():
                continue  # the link's page names it in MkDocs's warning
            _log.warning(
                f"a link to the folder {path} can't work in the site; add a README.md to it, or link to a file"
            )
            continue
        added = {"inclusion": InclusionLevel.INCLUDED if name == "index.md" else InclusionLevel.NOT_IN_NAV}
        if name.endswith(".md"):
            text = file.read_text("utf-8")
            if path.endswith(".md"):
                waiting += links_of(text, path)
                text = page_text(text, path)
            else:
                text = _source_page(path, text)
            files.append(File.generated(config, name, content=text, **added))
        else:
            files.append(File.generated(config, name, abs_src_path=str(file), **added))


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrites the links of pages in docs/ to files outside it."""
    if page.file.generated_by:
        return markdown
    return page_text(markdown, f"docs/{page.file.src_uri}")
