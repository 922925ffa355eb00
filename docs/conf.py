"""The documentation site: `python -m sphinx -W --keep-going docs site`.

Sphinx, as JAX and optax have it: it checks every cross-reference (`-W` makes a dead one an error),
reads the docstrings as they are, and shows the notebooks with the outputs they were saved with.
"""

import importlib
import inspect
import re

from docutils import nodes
from sphinx import addnodes
from sphinx.util import logging

import jkr

project = "jkr"
author = "the jkr developers"
copyright = author
version = release = jkr.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_nb",
]
exclude_patterns = ["_build"]
default_role = "code"
nitpicky = True
nitpick_ignore_regex = [
    ("py:class", r"(jax|numpy|collections\.abc|matplotlib)\..*"),
    ("py:exc", r"\w+Error"),
]
autodoc_typehints = "none"  # the docstrings give shapes
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # CI executes them
html_theme = "furo"
html_title = f"jkr {release}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]

ROOMS = ("jkr", *(f"jkr.{room}" for room in ("cp", "operators", "sketch", "glam", "plot")))
ROOMS += ("jkr.cp.losses", "jkr.cp.constraints", "jkr.tensors", "jkr.io", "jkr.datasets")


def public_names(*, members: bool = False) -> list[str]:
    """Full names of all that a user may type."""
    names = []
    for room in ROOMS:
        module = importlib.import_module(room)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.ismodule(value) or name == "Figure":  # matplotlib's
                continue
            names.append(f"{room}.{name}")
            if members and inspect.isclass(value):
                names += [f"{room}.{name}.{n}" for n in dir(value) if not n.startswith("_")]
    return names


def skip_fields(app, what, name, obj, skip, options):
    """Fields of NamedTuples are described by their class."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def link_names(app, doctree):
    """Turn code that is a public name, or a call of one, into a link to it."""
    of_page = {"jkr": "jkr", "losses": "jkr.cp.losses", "constraints": "jkr.cp.constraints"}
    page = app.env.docname.removeprefix("api/")
    room = of_page.get(page, f"jkr.{page}")
    full = {short: name for name in public_names(members=True) for short in _short(name, room)}
    for literal in list(doctree.findall(nodes.literal)):
        if isinstance(literal.parent, (addnodes.pending_xref, nodes.reference)):
            continue
        called = re.match(r"[\w.]+(?=$|\()", literal.astext())
        if called and called[0] in full:
            target = {"refdomain": "py", "reftype": "obj", "reftarget": full[called[0]]}
            link = addnodes.pending_xref("", refdoc=app.env.docname, refexplicit=True, **target)
            literal.replace_self(link)
            link += literal


def _short(name: str, room: str) -> set[str]:
    """`jkr.cp.als` is written so, or `cp.als`; in its own room `als`, classes so everywhere."""
    last = name.rsplit(".", 1)[1]
    alone = last[0].isupper() or name == f"{room}.{last}"
    return {name, name.removeprefix("jkr."), *([last] if alone else [])}


def warn_of_missing_names(app, env):
    """Every public name has its place in the API pages."""
    documented = env.domains["py"].objects
    for name in public_names():
        if name not in documented:
            logging.getLogger(__name__).warning("%s is not in the API pages", name)


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("doctree-read", link_names)
    app.connect("env-check-consistency", warn_of_missing_names)
