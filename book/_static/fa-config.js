// Runs before the theme's Font Awesome: icons go inside their element instead of replacing it, so that
// buttons whose icon changes (such as those of ipywidgets) keep working.
window.FontAwesomeConfig = { autoReplaceSvg: "nest" };
