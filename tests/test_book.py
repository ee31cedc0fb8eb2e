"""The book: every chapter was run from top to bottom, every figure has alt text, the HTML is complete.

nbval runs the chapters again, as a part of `make test`; test_browser.py checks the pages in a browser.
"""

import json
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import build_book
import nbformat
import page_frame
import pytest
import social_card
from bs4 import BeautifulSoup
from hanging_code import hanging
from PIL import Image, ImageChops, ImageStat
from plain_docstrings import to_rst
from sphinx.errors import ConfigError

import minigan

ROOT = Path(__file__).resolve().parents[1]
PAGES = build_book.pages()
CHAPTERS = build_book.chapters()
IDS = [path.stem for path in CHAPTERS]


def code_cells(path: Path) -> list:
    """The cells of a notebook that hold code."""
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]


@cache
def soup(html: Path) -> BeautifulSoup:
    """A page of the built book."""
    return BeautifulSoup(html.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(html: Path) -> set[str]:
    """The names that a link into a page may end in."""
    return {tag["id"] for tag in soup(html).select("[id]")}


def test_every_page_has_one_source_and_every_source_is_in_the_toc():
    sources = {page: [p for p in ROOT.glob(f"{page}.*") if p.suffix in (".md", ".ipynb")] for page in PAGES}
    assert {page: files for page, files in sources.items() if len(files) != 1} == {}
    written = {p for suffix in ("md", "ipynb") for p in (ROOT / "book").glob(f"*.{suffix}")}
    assert written == {files[0] for files in sources.values()}


@pytest.mark.parametrize("path", CHAPTERS, ids=IDS)
def test_chapter_was_run_from_top_to_bottom(path):
    nbformat.validate(nbformat.read(path, as_version=4))
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any(cell.outputs for cell in cells)
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", f"a warning or a bar: {output.text[:200]}"


@pytest.mark.parametrize("path", CHAPTERS, ids=IDS)
def test_chapter_contains_no_path_of_a_machine(path):
    notebook = nbformat.read(path, as_version=4)
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        output.get("data", {}).pop("image/png", None)  # base64 may contain any letters
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", nbformat.writes(notebook))  # as above
    for folder in ("/home/", "/Users/", "/root/", "/tmp/", str(ROOT), "site-packages"):
        assert folder not in text


@pytest.mark.parametrize("path", CHAPTERS, ids=IDS)
def test_every_figure_of_a_chapter_has_alt_text(path):
    for cell in code_cells(path):
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt) > 20, f"metadata.mystnb.image.alt of the cell that begins {cell.source[:80]!r}"


#: Tags of cells whose code is folded or absent.
FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}


def visible(cells: list) -> list:
    """The cells whose code a reader sees without a click."""
    return [cell for cell in cells if not FOLDED & set(cell.metadata.get("tags", []))]


@pytest.mark.parametrize("path", CHAPTERS, ids=IDS)
def test_code_fits_the_page(path):
    for cell in code_cells(path):
        assert max(map(len, cell.source.splitlines())) <= 88, cell.source


@pytest.mark.parametrize("path", CHAPTERS, ids=IDS)
def test_a_chapter_shows_little_code(path):
    """Model, loss, loop, metric; what draws, prints tables or reads records is folded or in the library."""
    lines = [line for cell in visible(code_cells(path)) for line in cell.source.splitlines() if line.strip()]
    assert len(lines) <= 60, f"{len(lines)} visible lines of code; fold cells with the tag hide-input"


@pytest.mark.parametrize("path", CHAPTERS, ids=IDS)
def test_every_solution_follows_its_exercise(path):
    """A hidden cell that solves something stands below a numbered exercise, which a text before it states."""
    text, asked = "", 0
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            text += cell.source
            asked += len(re.findall(r"^\*\*\d+\.", cell.source, flags=re.M))
        elif "solution" in cell.metadata.get("mystnb", {}).get("code_prompt_hide", ""):
            assert "## Exercises" in text and asked, cell.id
            asked -= 1
    solutions, exercises = text.count("} Solution"), len(re.findall(r"^\*\*\d+\.", text, flags=re.M))
    assert solutions <= exercises, f"{solutions} solutions of {exercises} exercises"


@pytest.mark.parametrize("path", CHAPTERS, ids=IDS)
def test_marks_for_the_tests_are_tags_that_no_reader_sees(path):
    marked = [cell for cell in code_cells(path) if "NBVAL_" in cell.source]
    assert not marked, "use the tag nbval-check-output"


def test_book_builds_without_a_warning(book_html):
    assert (book_html / "index.html").exists()
    assert [page for page in PAGES if not (book_html / f"{page}.html").exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_of_a_page_exist(book_html, page):
    html = book_html / f"{page}.html"
    document = soup(html)
    targets = [tag.get("href") or tag.get("src") for tag in document.select("[href], [src]")]
    for target in targets:
        link = urlsplit(target)
        if link.scheme:  # the web, mail, data
            continue
        file = html if not link.path else (html.parent / unquote(link.path)).resolve()
        assert file.exists(), target
        if link.fragment and file.suffix == ".html":
            assert unquote(link.fragment) in anchors(file), target


@pytest.mark.parametrize("page", PAGES)
def test_pictures_of_a_page_have_alt_text(book_html, page):
    for image in soup(book_html / f"{page}.html").select("img"):
        alt = image.get("alt", "").strip()
        assert alt, image
        assert not alt.lower().endswith((".png", ".svg", ".jpg")), f"a file name is no alt text: {alt}"


@pytest.mark.parametrize("page", PAGES)
def test_page_loads_nothing_from_the_web(book_html, page):
    document = soup(book_html / f"{page}.html")
    loaded = [tag.get("src") for tag in document.select("[src]")]
    loaded += [tag.get("href") for tag in document.select("link[rel~=stylesheet], link[rel~=preload]")]
    assert [url for url in loaded if url and urlsplit(url).scheme in ("http", "https")] == []


def test_bibliography_lists_every_entry(book_html):
    entries = (ROOT / "book" / "references.bib").read_text(encoding="utf-8").count("\n@")
    page = soup(book_html / "book" / "bibliography.html")
    assert len(page.select("div.citation")) == entries
    assert page.select('.citation-list[role="list"]') == []  # a list for screen readers has items


# ---------------------------------------------------------------------- what surrounds the text


@pytest.mark.parametrize("page", [*PAGES, "404"])
def test_a_page_says_what_it_is_and_who_made_it(book_html, page):
    document = soup(book_html / f"{page}.html")
    (description,) = document.select('meta[name="description"]')
    assert 60 < len(description["content"]) <= page_frame.LONGEST
    title = document.select_one('meta[property="og:title"]')["content"]
    assert title and title in document.title.text
    (icon,) = document.select('link[rel~="icon"]')
    assert (book_html / f"{page}.html").parent.joinpath(icon["href"]).resolve().exists()
    footer = document.select_one(".bd-footer-content").text
    assert f"minigan {minigan.__version__}, 20" in footer


def test_descriptions_differ_between_chapters(book_html):
    pages = [soup(book_html / f"book/{name}.html") for name in IDS]
    assert len({page.select_one('meta[name="description"]')["content"] for page in pages}) == len(pages)


def test_no_page_runs_code_on_a_server_of_others(book_html):
    for page in PAGES:
        assert "thebe" not in (book_html / f"{page}.html").read_text(encoding="utf-8").lower()


def test_the_social_card_is_what_the_script_draws(book_html):
    drawn = social_card.draw(social_card.STATIC / "readme.png")
    with Image.open(book_html / page_frame.CARD) as published:
        assert published.size == drawn.size == (1200, 630)
        difference = ImageChops.difference(published.convert("RGB"), drawn.convert("RGB"))
    assert max(ImageStat.Stat(difference).mean) < 2  # letters may differ with the version of Pillow
    assert (book_html / page_frame.CARD).stat().st_size < 100_000


def test_an_unpublished_book_has_no_addresses_of_its_own(book_html):
    assert not (book_html / "sitemap.xml").exists()
    page = soup(book_html / "book/algan.html")
    assert page.select('[property="og:url"], [rel="canonical"], base') == []
    assert page.select(".dropdown-launch-buttons, .dropdown-source-buttons") == []
    assert "mybinder" not in str(page) and "colab" not in str(page)


def test_a_published_book_names_its_addresses(tmp_path, monkeypatch):
    """A small book, built as in the workflow that publishes."""
    monkeypatch.setenv("MINIGAN_BOOK_URL", "https://example.org/minigan")
    monkeypatch.setenv("MINIGAN_REPOSITORY", "https://github.com/someone/minigan/")
    monkeypatch.setenv("MINIGAN_NOTEBOOKS", "notebooks")
    small_book(tmp_path, '# Hello\n\nA <"page"> with a first paragraph that is long enough to describe it.\n')
    chapter = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A chapter")])
    chapter.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(chapter, tmp_path / "chapter.ipynb")
    with (tmp_path / "_toc.yml").open("a", encoding="utf-8") as toc:
        toc.write("chapters:\n- file: chapter\n")
    config = {"title": "small", "only_build_toc_files": True, "execute": {"execute_notebooks": "off"}}
    config |= {"sphinx": {"local_extensions": {"page_frame": str(ROOT / "book" / "_extensions")}}}
    (tmp_path / "_config.yml").write_text(json.dumps(config), encoding="utf-8")
    build_book.build(tmp_path, tmp_path)
    html = tmp_path / "_build" / "html"
    assert "<loc>https://example.org/minigan/hello.html</loc>" in (html / "sitemap.xml").read_text()
    page, lost = soup(html / "hello.html"), soup(html / "404.html")
    shown = {tag.get("property") or tag.get("name"): tag.get("content") for tag in page.select("meta")}
    assert shown["og:url"] == "https://example.org/minigan/hello.html"
    assert shown["og:image"] == "https://example.org/minigan/_static/social-card.png"
    assert shown["description"].startswith("A <") and shown["twitter:card"] == "summary_large_image"
    assert page.select_one('link[rel="canonical"]')["href"] == shown["og:url"]
    assert page.select('a[href="https://github.com/someone/minigan"]')
    assert page.select(".dropdown-launch-buttons") == []  # there is nothing to run
    opened = soup(html / "chapter.html").select(".dropdown-launch-buttons a")
    assert [link["href"] for link in opened] == [
        "https://mybinder.org/v2/gh/someone/minigan/notebooks?urlpath=lab/tree/chapter.ipynb",
        "https://colab.research.google.com/github/someone/minigan/blob/notebooks/chapter.ipynb",
    ]
    assert lost.select_one("base")["href"] == "https://example.org/minigan/"
    links = [a["href"] for a in lost.select("article a[href]") if not a["href"].startswith("#")]
    assert links == ["hello.html", "search.html"]


def test_colab_is_offered_for_github_alone(monkeypatch):
    assert "colab_url" not in page_frame.launchers("https://gitlab.com/someone/minigan")
    monkeypatch.setenv("MINIGAN_NOTEBOOKS", "notebooks")
    monkeypatch.delenv("MINIGAN_REPOSITORY", raising=False)
    config = SimpleNamespace(html_baseurl="", html_theme_options={})
    with pytest.raises(ConfigError, match="expected the repository of the branch in MINIGAN_NOTEBOOKS"):
        page_frame.configure(SimpleNamespace(srcdir=ROOT), config)


# ---------------------------------------------------------------------- the build script, on a small book


def small_book(folder: Path, text: str = "# Hello\n\nA page.\n") -> Path:
    """A book of one page."""
    (folder / "_config.yml").write_text("title: small\nonly_build_toc_files: true\n", encoding="utf-8")
    (folder / "_toc.yml").write_text("format: jb-book\nroot: hello\n", encoding="utf-8")
    (folder / "hello.md").write_text(text, encoding="utf-8")
    return folder


def test_build_fails_on_a_warning(tmp_path, capfd):
    with pytest.raises(SystemExit, match="not built cleanly"):
        build_book.build(tmp_path, small_book(tmp_path, "# Hello\n\nSee [](nowhere.md).\n"))
    assert "nowhere" in "".join(capfd.readouterr())


def test_build_fails_on_a_missing_page(tmp_path, monkeypatch):
    small_book(tmp_path)
    monkeypatch.setattr(build_book, "pages", lambda root: ["hello", "forgotten"])
    with pytest.raises(SystemExit, match="missing in .*: forgotten"):
        build_book.build(tmp_path, tmp_path)


def test_pages_come_in_reading_order(tmp_path):
    toc = {
        "format": "jb-book",
        "root": "a",
        "parts": [
            {"caption": "One", "chapters": [{"file": "b", "sections": [{"file": "c"}]}]},
            {"chapters": [{"file": "d"}]},
        ],
    }
    (tmp_path / "_toc.yml").write_text(json.dumps(toc), encoding="utf-8")  # JSON is YAML
    assert build_book.pages(tmp_path) == ["a", "b", "c", "d"]


def test_only_chapters_without_outputs_run(tmp_path):
    path = tmp_path / "chapter.ipynb"
    cells = [
        nbformat.v4.new_markdown_cell("# A"),
        nbformat.v4.new_code_cell("6 * 7"),
        nbformat.v4.new_code_cell(""),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    assert build_book.must_run(path)
    build_book.execute(path, cell_timeout=60)
    assert not build_book.must_run(path)
    assert nbformat.read(path, as_version=4).cells[1].outputs[0].data["text/plain"] == "42"


def test_a_live_panel_runs_and_leaves_nothing_behind(tmp_path):
    """Its output is one of a widget, and the client has to know the widget's state to run the cell."""
    path = tmp_path / "chapter.ipynb"
    code = "from ipywidgets import interact\n\n@interact(k=(0, 3))\ndef twice(k):\n    print(2 * k)"
    cells = [nbformat.v4.new_code_cell(code, metadata={"tags": ["remove-output"]})]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    build_book.execute(path, cell_timeout=60)
    notebook = nbformat.read(path, as_version=4)
    assert notebook.cells[0].execution_count == 1 and notebook.cells[0].outputs == []
    assert "widgets" not in notebook.metadata


@pytest.mark.parametrize(
    ("plain", "rst"),
    [
        ("`history_`, *labels and |x|", r"``history_``, \*labels and \|x\|"),
        ("the *normal* ones of threshold_", r"the *normal* ones of threshold\_"),
        ("Attributes after `fit`:", "Attributes:"),
        ("    history_: a table", "    history_: a table"),
        ("``already`` so", "``already`` so"),
    ],
)
def test_plain_docstrings_become_rst(plain, rst):
    assert to_rst(plain) == rst


def test_a_line_of_code_goes_on_further_in_than_it_began(book_html):
    found = hanging("    <span>if</span> a &lt; b\n")
    assert found.startswith('<span class="code-line" style="--hang: 8ch">    <span>if')
    cells = soup(book_html / "book/first_detector.html").select(".cell_input pre")
    (cell,) = (cell for cell in cells if "def compare" in cell.text)
    lines = cell.select(".code-line")
    assert "".join(line.text for line in lines) == cell.text  # what a reader copies
    hangs = [int(re.search(r"--hang: (\d+)ch", line["style"])[1]) for line in lines]
    code = cell.text.splitlines()
    assert hangs == [len(line) - len(line.lstrip()) + 4 for line in code] and max(hangs) > 8


def test_outputs_are_tidied():
    def printed(text, name="stdout"):
        return nbformat.v4.new_output("stream", name=name, text=text)

    data = {"image/png": "P", "image/jpeg": "J", "text/plain": "<PIL.Image at 0x7F00AB>"}
    picture = nbformat.v4.new_output("display_data", data)
    warning = printed("/tmp/ipykernel_12/34.py:1: UserWarning: c\n  f()\n", "stderr")
    outputs = [printed("a\n"), printed("b\n"), warning, picture, printed("d\n")]
    cells = [nbformat.v4.new_markdown_cell("text"), nbformat.v4.new_code_cell("1", outputs=outputs)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    build_book.tidy(notebook)
    assert [output.get("text") or output.data for output in notebook.cells[1].outputs] == [
        "a\nb\n",
        "UserWarning: c\n  f()\n",
        {"image/png": "P", "text/plain": "<PIL.Image>"},
        "d\n",
    ]
