"""What `make docs` adds to the pages of this folder: the README as the first, and every option by its name.

A hook of MkDocs (`mkdocs.yml`). Pages link to one another as they lie in the repository, so that they read there as
well; a link to a file that is no page becomes the file's name.
"""

import posixpath
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))
import option_list

ROOT = Path(__file__).resolve().parents[1]
# Pages that lie outside of this folder, by their place in the repository; and one that lies nowhere.
OUTSIDE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md"}
OPTIONS = "options.md"
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that do not lie in this folder."""
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    files.append(File.generated(config, OPTIONS, content=option_list.page()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Let links lead to pages of the site."""
    return relinked(markdown, page.file.src_uri, files.src_uris)


def relinked(markdown: str, page: str, pages: Mapping[str, Any]) -> str:
    """Return a page's text with links between pages of the site, as `pages` has them, and none to other files.

    A link to what is not there stays, and MkDocs refuses it.
    """
    sources = {page: source for source, page in OUTSIDE.items()}
    source = sources.get(page, f"docs/{page}")

    def lead(found: re.Match[str]) -> str:
        text, target, anchor = found["text"], found["target"], found["anchor"] or ""
        if not target or ":" in target:
            return found[0]
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        to = OUTSIDE.get(place, place.removeprefix("docs/"))
        if to in pages:
            return f"[{text}]({posixpath.relpath(to, posixpath.dirname(page) or '.')}{anchor})"
        return f"{text} (`{place}`)" if (ROOT / place).exists() else found[0]

    return _LINK.sub(lead, markdown)
