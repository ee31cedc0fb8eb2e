// The elements of a playground, as HTML: buttons, settings, and canvases to draw on. playground.js brings them to life.
// Only words and numbers of these files go into it, never what a link says.

(() => {
  "use strict";

  const {CHOICES} = globalThis.PlaygroundState;

  const NAMES = {plain: "Plain GAN", algan: "ALGAN"};
  const KINDS = {real: "real", fake: "fake", anomalous: "pseudo-anomalous"};
  const POINTS = {cloud: "cloud", moons: "two moons", eight: "eight groups", circle: "circle", own: "my own"};
  const NORMS = {none: "none", batch: "on (statistics of the batch)", running: "on (running statistics)"};

  /** The inside of a playground: `key` begins its ids, `shown` names detectors, `settings` those with a control. */
  function html({key, shown, settings, link}) {
    const option = (value, text) => `<option value="${value}">${text}</option>`;
    const select = (name, texts) =>
      `<select id="${key}-${name}" data-name="${name}">${CHOICES[name].values.map((v) => option(v, texts[v])).join("")}</select>`;
    const setting = (name) => {
      const {label, values} = CHOICES[name];
      const slider = `<output for="${key}-${name}"></output>
        <input type="range" id="${key}-${name}" data-name="${name}" min="0" max="${values.length - 1}" autocomplete="off">`;
      const control = name === "batch_norm" ? select(name, NORMS) : slider;
      return `<div class="pg-setting"><label for="${key}-${name}">${label}</label>${control}</div>`;
    };
    const panel = (name) => `<div class="pg-panel" data-gan="${name}">
      <p class="pg-head"><span class="pg-name">${NAMES[name]}</span><span>ring AUROC <output class="pg-auroc"></output></span></p>
      <canvas class="pg-plane" tabindex="0" role="application" aria-label="${NAMES[name]}: points and field"
        aria-describedby="${key}-keys"></canvas>
      <p class="pg-note"></p></div>`;
    const losses = (name) => `<div><p class="pg-caption">${NAMES[name]}: losses of G and D</p>
      <canvas class="pg-losses" data-of="${name}" role="img"></canvas></div>`;
    const kinds = shown.includes("algan") ? Object.keys(KINDS) : ["real", "fake"];
    const inBar = (name) => settings.includes(name);
    return `
      <div class="pg-bar">
        <button type="button" class="pg-play">Play</button>
        <button type="button" class="pg-step">Step</button>
        <button type="button" class="pg-reset">Reset</button>
        <span>step <output class="pg-steps"></output></span>
      </div>
      <div class="pg-bar">
        ${inBar("points") ? `<label for="${key}-points">Points ${select("points", POINTS)}</label>` : ""}
        ${inBar("points") ? `<button type="button" class="pg-draw" aria-pressed="false">Draw</button>
          <button type="button" class="pg-clear">Clear</button>` : ""}
        ${inBar("seed") ? `<label for="${key}-seed">Seed <input type="number" id="${key}-seed" data-name="seed" min="0"
          max="${CHOICES.seed.values.at(-1)}" autocomplete="off"></label>` : ""}
        ${link ? '<button type="button" class="pg-copy">Copy link</button>' : '<a class="pg-open">Open in the playground</a>'}
      </div>
      <ul class="pg-legend">
        ${kinds.map((kind) => `<li><canvas data-kind="${kind}" aria-hidden="true"></canvas>${KINDS[kind]}</li>`).join("")}
        <li><span class="pg-swatch"></span>D: normal to anomalous</li>
        <li><span class="pg-line"></span>threshold</li>
        <li><span class="pg-dots"></span>the ring</li>
      </ul>
      <div class="pg-panels">${shown.map(panel).join("")}</div>
      <p class="pg-unseen" id="${key}-keys">Arrow keys move the mark, whose score is read out, and with Shift they
        move it further. While Draw is on, Space adds points at the mark.</p>
      <p class="pg-unseen" role="status"></p>
      <div class="pg-panels">${shown.map(losses).join("")}</div>
      <p class="pg-caption">Ring AUROC</p>
      <canvas class="pg-aurocs" role="img"></canvas>
      <div class="pg-settings">${settings.filter((n) => n !== "points" && n !== "seed").map(setting).join("")}</div>`;
  }

  globalThis.PlaygroundControls = {NAMES, html};
})();
