"""What depends on where the book and its repository are: built small, with addresses and without."""

import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from browsing import ROOT

ADDRESSES = {"REPOSITORY": "https://github.com/OWNER/NAME"}
TOC = "format: jb-book\nroot: book/intro\nparts: [{caption: Part, chapters: [{file: book/one}]}]\n"


def build(folder, baseurl="", **environment):
    for name in (
        "_config.yml",
        "tools",
        "book/_static",
        "tyinglib/book/interactive/interactive.css",
        "tyinglib/book/interactive/interactive.js",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    config = (folder / "_config.yml").read_text(encoding="utf-8")
    assert 'baseurl: ""' in config
    (folder / "_config.yml").write_text(config.replace('baseurl: ""', f'baseurl: "{baseurl}"'), encoding="utf-8")
    (folder / "_toc.yml").write_text(TOC, encoding="utf-8")
    (folder / "book/references.bib").write_text("", encoding="utf-8")
    (folder / "book/intro.md").write_text(
        "# A small book\n\n" + "It begins with a sentence that says what it is about. " * 3, encoding="utf-8"
    )
    cells = [nbformat.v4.new_markdown_cell("# One"), nbformat.v4.new_code_cell("1 + 1", execution_count=1)]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), folder / "book/one.ipynb")
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", ".", "-W", "-q"]
    around = {name: value for name, value in os.environ.items() if name != "REPOSITORY"}
    done = subprocess.run(command, cwd=folder, env=around | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "_build/html"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return build(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def placed(tmp_path_factory):
    return build(tmp_path_factory.mktemp("placed"), "https://owner.example/name/", **ADDRESSES)


def test_without_addresses_there_is_no_button_and_no_sitemap(plain):
    text = (plain / "book/one.html").read_text(encoding="utf-8")
    for word in ("launch", "colab", "mybinder", "github", "og:url", "og:image"):
        assert word not in re.sub(r'class="[^"]*"', "", text).lower(), word
    assert not (plain / "sitemap.xml").exists()
    assert 'href="/index.html"' in (plain / "404.html").read_text(encoding="utf-8")
    assert "Last changed" not in text, "there is no git here"


def test_with_addresses_there_are_launch_buttons_for_notebooks_only(placed):
    text = (placed / "book/one.html").read_text(encoding="utf-8")
    assert "https://mybinder.org/v2/gh/OWNER/NAME/main?urlpath=lab/tree/book/one.ipynb" in text
    assert "https://colab.research.google.com/github/OWNER/NAME/blob/main/book/one.ipynb" in text
    assert 'href="https://github.com/OWNER/NAME"' in text
    assert "mybinder" not in (placed / "book/intro.html").read_text(encoding="utf-8")


def test_with_addresses_there_are_previews_a_sitemap_and_a_404_that_leads_home(placed):
    text = (placed / "book/intro.html").read_text(encoding="utf-8")
    assert '<meta property="og:url" content="https://owner.example/name/book/intro.html" />' in text
    picture = re.search(r'<meta property="og:image" content="https://owner.example/name/([^"]+)" />', text)
    assert (placed / picture[1]).read_bytes().startswith(b"\x89PNG")
    assert 'content="It begins with a sentence' in text
    sitemap = (placed / "sitemap.xml").read_text(encoding="utf-8")
    assert re.findall("<loc>(.*?)</loc>", sitemap) == [
        f"https://owner.example/name/book/{n}.html" for n in ("intro", "one")
    ]
    assert 'href="/name/index.html"' in (placed / "404.html").read_text(encoding="utf-8")


def test_an_address_that_is_none_is_refused(tmp_path):
    with pytest.raises(AssertionError, match="REPOSITORY must be an address like"):
        build(tmp_path, REPOSITORY="git@github.com:OWNER/NAME")
