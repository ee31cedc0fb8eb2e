"""How `make lab` opens JupyterLab: with the welcome page, and nothing but notebooks in the list of files."""

import os
from pathlib import Path

c = get_config()  # noqa: F821 (JupyterLab defines it)
c.LabApp.default_url = "/lab/tree/00-intro.ipynb"
# Pictures, and what Python leaves; names that begin with a dot are hidden anyway.
c.ContentsManager.hide_globs = ["_static", "__pycache__", "*.pyc"]
# A class may have no network: labconfig/page_config.json switches off JupyterLab's news, and its question
# whether a reader wants them.
paths = [str(Path(__file__).parent), os.environ.get("JUPYTER_CONFIG_PATH")]
os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, paths))
