// The settings of a playground, and the link that carries them: everything that decides what it shows.
//
// A link ends in "#points=moons&seed=0&sigma=4&...". What it says is checked against the values below, as anyone
// can write a link: an unknown name is ignored, and an unknown value gives way to the nearest one, or the default.

(() => {
  "use strict";

  const RATES = [1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3];
  const range = (from, to, step) => {
    const n = Math.round((to - from) / step) + 1;
    return Array.from({length: n}, (_, i) => Math.round((from + i * step) * 100) / 100);
  };

  /** Settings that are chosen from a list of values: their label, the values, and the value at the start. */
  const CHOICES = {
    points: {label: "Points", values: ["cloud", "moons", "eight", "circle", "own"], start: "cloud"},
    sigma: {label: "σ, width of the anomalous latents", values: range(1, 8, 0.5), start: 4},
    alpha: {label: "α, fraction of normal latents", values: range(0, 1, 0.05), start: 0.75},
    buffer: {label: "Buffer, in batches (0: none)", values: range(0, 10, 1), start: 2},
    lr_G: {label: "Learning rate of G", values: RATES, start: 1e-3},
    lr_D: {label: "Learning rate of D", values: RATES, start: 1e-3},
    batch_norm: {label: "Batch norm in G", values: ["none", "batch", "running"], start: "none"},
    seed: {label: "Seed", values: range(0, 99, 1), start: 0},
  };

  const REACH = 3.4; // drawn points stay this close to the middle, inside the ring of test points
  const MOST = 600; // drawn points that a link carries
  const FEWEST = 16; // drawn points that can be learned from

  const defaults = () => ({
    ...Object.fromEntries(Object.entries(CHOICES).map(([name, choice]) => [name, choice.start])),
    own: [], // drawn points, rows [x, y]
  });

  /** The allowed value that this text means. */
  function choose({values, start}, text) {
    if (typeof start === "string") return values.includes(text) ? text : start;
    const wanted = Number.parseFloat(text);
    if (!Number.isFinite(wanted)) return start;
    return values.reduce((best, value) => (Math.abs(value - wanted) < Math.abs(best - wanted) ? value : best));
  }

  // A coordinate becomes two characters of 6 bits: 4096 places between -4 and 4.
  const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

  function encode(rows) {
    const place = (value) => Math.min(4095, Math.max(0, Math.round(((value + 4) / 8) * 4095)));
    return rows.flat().map(place).map((at) => DIGITS[at >> 6] + DIGITS[at & 63]).join("");
  }

  function decode(text) {
    const rows = [];
    for (let i = 0; i + 4 <= text.length && rows.length < MOST; i += 4) {
      const [a, b, c, d] = [...text.slice(i, i + 4)].map((character) => DIGITS.indexOf(character));
      if (Math.min(a, b, c, d) < 0) continue;
      const row = [64 * a + b, 64 * c + d].map((at) => (at / 4095) * 8 - 4);
      if (Math.hypot(...row) <= REACH + 0.01) rows.push(row);
    }
    return rows;
  }

  /** The settings that a link's part after "#" describes. */
  function parse(text) {
    const given = new URLSearchParams(text.replace(/^#/, ""));
    const state = defaults();
    for (const name of Object.keys(CHOICES)) {
      if (given.has(name)) state[name] = choose(CHOICES[name], given.get(name));
    }
    state.own = decode(given.get("drawn") ?? "");
    return state;
  }

  /** The part of a link after "#" that describes these settings. */
  function format(state) {
    const told = Object.fromEntries(Object.keys(CHOICES).map((name) => [name, state[name]]));
    if (state.points === "own") told.drawn = encode(state.own);
    return String(new URLSearchParams(told));
  }

  /** Whether the part of an address after "#" is one of these, and not the name of a heading. */
  const isState = (text) => /^#(.*&)?points=/.test(text);

  /** Drawn points as the link would bring them back, so that it gives the same result. */
  const rounded = (rows) => decode(encode(rows));

  globalThis.PlaygroundState = {CHOICES, REACH, MOST, FEWEST, defaults, parse, format, isState, rounded};
})();
