"""Sphinx extension for what surrounds a page's text: description, social card, footer, 404 page, sitemap.

Environment variables say where the book is published. Without them the book is complete, except for what
needs an absolute address:

    MINIGAN_BOOK_URL    where its pages lie, such as https://example.org/minigan/: adds the sitemap, canonical
                        links, the picture of social cards, and a 404 page whose links work at any depth
    MINIGAN_REPOSITORY  where its sources lie: adds buttons for the repository and for issues
    MINIGAN_NOTEBOOKS   the branch of that repository with what book/online.py writes: adds buttons that open
                        a chapter on Binder, and on Colab, which reads from GitHub alone
"""

import os
import subprocess
from datetime import date
from html import escape
from pathlib import Path
from textwrap import shorten

from docutils import nodes
from sphinx.errors import ConfigError

SUMMARY = (
    "A book about anomaly detection with generative adversarial networks, and the small library beside it."
)
BINDER, COLAB = "https://mybinder.org", "https://colab.research.google.com"
CARD = "_static/social-card.png"  # drawn by book/social_card.py
CARD_ALT = (
    "Minigan: anomaly detection with GANs. On the right, ALGAN's map of a cloud of points: what lies around "
    "the cloud is anomalous."
)
LONGEST = 160  # characters of a description; search engines show no more

LIST = '<div class="citation-list">'
NOT_FOUND = """<section>
<h1>There is no page here</h1>
<p>The address may be misspelt, or the page has moved.
Go to the <a href="{home}">first page</a>, where all chapters are listed, or <a href="{search}">search the
book</a>.</p>
</section>"""


def describe(doctree: nodes.document | None) -> str:
    """The first paragraph of a page that stands in no box, cut to the length of a description."""
    for paragraph in doctree.findall(nodes.paragraph) if doctree is not None else ():
        text = " ".join(paragraph.astext().split())
        if isinstance(paragraph.parent, nodes.section) and len(text) > 60:
            return shorten(text, LONGEST, placeholder=" ...")
    return SUMMARY


def meta_tags(title: str, description: str, page: str, base: str) -> str:
    """What search engines and chat programs show of a page, as HTML; `base` is "" for an unpublished book."""
    named = {"description": description, "twitter:card": "summary_large_image" if base else "summary"}
    properties = {
        "og:title": title,
        "og:description": description,
        "og:type": "article",
        "og:site_name": "minigan",
    }
    if base:  # these two must be absolute addresses
        properties |= {"og:url": base + page, "og:image": base + CARD, "og:image:alt": CARD_ALT}
    return "\n".join(
        f'<meta {kind}="{name}" content="{escape(text)}" />'
        for kind, tags in (("name", named), ("property", properties))
        for name, text in tags.items()
    )


def day_of(folder: str | Path) -> str:
    """The day of the last commit in a folder, or today where there is no git: "2026-11-28"."""
    command = ["git", "-C", str(folder), "log", "-1", "--format=%cs"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return date.today().isoformat()
    return found.stdout.strip() or date.today().isoformat()


def sitemap(addresses: list[str]) -> str:
    """A sitemap in XML, for search engines."""
    urls = "".join(f"<url><loc>{escape(address)}</loc></url>\n" for address in addresses)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{urls}</urlset>\n'
    )


def launchers(repository: str) -> dict[str, str]:
    """The theme's option for buttons that open a chapter elsewhere: where its notebooks can be opened."""
    colab = {"colab_url": COLAB} if "://github.com/" in repository else {}
    return {"notebook_interface": "jupyterlab", "binderhub_url": BINDER} | colab


def configure(app, config) -> None:
    """Read the addresses, and put the version and the day into the footer.

    Raises:
        ConfigError: there is a branch with notebooks, but no repository.
    """
    from minigan import __version__

    base = os.environ.get("MINIGAN_BOOK_URL", "").strip()
    config.html_baseurl = f"{base.rstrip('/')}/" if base else ""
    options = config.html_theme_options
    options["extra_footer"] = (
        f"{options.get('extra_footer', '')}<p>minigan {__version__}, {day_of(app.srcdir)}</p>"
    )
    repository = os.environ.get("MINIGAN_REPOSITORY", "").strip().rstrip("/")
    notebooks = os.environ.get("MINIGAN_NOTEBOOKS", "").strip()
    if notebooks and not repository:
        raise ConfigError(
            "expected the repository of the branch in MINIGAN_NOTEBOOKS, got none; set MINIGAN_REPOSITORY too"
        )
    if repository:
        options |= {"repository_url": repository, "repository_branch": "main"}
        options |= {"use_repository_button": True, "use_issues_button": True}
    if notebooks:  # the theme uses the branch for these buttons alone
        options |= {"repository_branch": notebooks, "launch_buttons": launchers(repository)}


def add_tags(app, pagename, templatename, context, doctree) -> None:
    """The meta tags of a page."""
    title = nodes.Text(context.get("pagetitle") or context.get("title") or "minigan").astext()
    base, page = app.config.html_baseurl, app.builder.get_target_uri(pagename)
    tags = meta_tags(title, describe(doctree), page, base)
    if pagename == "404" and base:  # it is shown at any address, so its links must not depend on that
        tags = f'<base href="{escape(base)}" />\n<meta name="robots" content="noindex" />\n{tags}'
    context["metatags"] = f"{context.get('metatags', '')}\n{tags}"


def mend(app, pagename, templatename, context, doctree) -> None:
    """A bibliography calls itself a list without having items, which screen readers stumble over."""
    context["body"] = context.get("body", "").replace('<div role="list" class="citation-list">', LIST)


def not_found_page(app):
    """The page that a server shows for an address that does not exist."""
    home, search = (app.builder.get_relative_uri("404", name) for name in (app.config.root_doc, "search"))
    body = NOT_FOUND.format(home=home, search=search)
    yield (
        "404",
        {"title": "There is no page here", "pagetitle": "There is no page here", "body": body},
        "page.html",
    )


def write_sitemap(app, exception) -> None:
    """The sitemap of a published book."""
    base = app.config.html_baseurl
    if exception is None and base and app.builder.format == "html":
        pages = [base + app.builder.get_target_uri(name) for name in sorted(app.env.found_docs)]
        (Path(app.outdir) / "sitemap.xml").write_text(sitemap(pages), encoding="utf-8")


def setup(app):
    """Called by Sphinx."""
    app.connect("config-inited", configure)
    app.connect("html-page-context", add_tags)
    app.connect("html-page-context", mend)
    app.connect("html-collect-pages", not_found_page)
    app.connect("build-finished", write_sitemap)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
