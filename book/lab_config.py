"""How `make lab` opens JupyterLab: with the welcome page, and nothing but notebooks in the list of files."""

c = get_config()  # noqa: F821 (JupyterLab defines it)
c.LabApp.default_url = "/lab/tree/00-intro.ipynb"
# Pictures, and what Python leaves; names that begin with a dot are hidden anyway.
c.ContentsManager.hide_globs = ["_static", "__pycache__", "*.pyc"]
# A class may have no network: JupyterLab fetches neither news nor updates.
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.handlers.announcements.NeverCheckForUpdate"
