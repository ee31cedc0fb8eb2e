// The page's side of the playground: buttons, sliders and pictures around the two detectors of algan.js.
//
//     <div class="playground" data-show="plain algan" data-settings="sigma alpha" data-start="points=cloud"></div>
//
// data-show names the detectors, data-settings the settings that get a control ("all" for every one), and data-start
// the first state, written as in a link. With data-link="yes" the page's address carries the state.

(() => {
  "use strict";

  const {Random, auroc, quantile, toy, surroundings} = globalThis.Points;
  const {ALGAN} = globalThis.Algan;
  const {CHOICES, REACH, MOST, FEWEST, parse, format, isState, rounded} = globalThis.PlaygroundState;
  const {grid, plane, curves, marker, placeOf} = globalThis.PlaygroundPicture;
  const {NAMES, html} = globalThis.PlaygroundControls;

  // Smaller than in the chapters, so that a browser is fast enough.
  const NETWORKS = {width: 32, zDim: 16, batchSize: 32};
  const PLAIN = {alpha: 1, bufferBatches: 0}; // what makes ALGAN a plain GAN
  const N_TRAIN = 512;
  const N_TEST = 256; // held-out real points, and points of the ring
  const RING = [4, 6];
  const CONTAMINATION = 0.05; // fraction of held-out real points above the threshold

  const EVERY = 16; // steps from one point of the curves to the next
  const REST = 1000; // steps after which it pauses by itself
  const SLICE = 40; // milliseconds of training between two looks at the keyboard
  // Pictures change at most six times a second, so nothing can flash more than three times in one.
  const WAIT = 170; // milliseconds
  const CALM = 1000; // for readers who ask for reduced motion
  const SIZE = 40; // the field is computed at SIZE x SIZE places
  const SHOWN = {real: 220, fakes: 120};

  const settingsOf = (state) => ({
    ...NETWORKS,
    seed: state.seed,
    sigma: state.sigma,
    alpha: state.alpha,
    bufferBatches: state.buffer,
    lrG: state.lr_G,
    lrD: state.lr_D,
    batchNorm: state.batch_norm,
  });

  /** Real points of a state, to learn from and held out; of drawn points every fourth is held out. */
  function realPoints({points, own}) {
    if (points !== "own") return {train: toy(points, N_TRAIN, 1), heldOut: toy(points, N_TEST, 2)};
    const heldOut = own.filter((_, i) => i % 4 === 3);
    return {train: own.filter((_, i) => i % 4 !== 3), heldOut};
  }

  let mounted = 0; // playgrounds of this page, for ids

  class Playground {
    constructor(root) {
      this.root = root;
      this.key = `pg${++mounted}`;
      this.shown = (root.dataset.show ?? "plain algan").split(" ");
      const wanted = root.dataset.settings ?? "all";
      this.settings = wanted === "all" ? Object.keys(CHOICES) : wanted.split(" ");
      this.link = root.dataset.link === "yes";
      this.first = root.dataset.start ?? "";
      this.playing = false;
      this.drawing = false;
      this.mark = [0, 0];
      this.places = grid(SIZE);
      this.ring = surroundings(N_TEST, ...RING, 3);
      root.innerHTML = html(this);
      this.canvases = [...root.querySelectorAll(".pg-plane")];
      this.listen();
      this.restore(this.link && isState(location.hash) ? location.hash : this.first);
    }

    // ---------------------------------------------------------------- the elements

    find(selector) {
      return this.root.querySelector(selector);
    }

    listen() {
      const click = (selector, action) => this.find(selector)?.addEventListener("click", action);
      click(".pg-play", () => this.play(!this.playing));
      click(".pg-step", () => {
        this.play(false);
        this.train();
        this.draw();
      });
      click(".pg-reset", () => {
        this.play(false);
        this.start();
      });
      click(".pg-copy", () => this.copy());
      click(".pg-draw", () => this.setDrawing(!this.drawing));
      click(".pg-clear", () => this.change({points: "own", own: []}));
      for (const control of this.root.querySelectorAll("[data-name]")) {
        const {name} = control.dataset;
        const read = () => (control.type === "range" ? CHOICES[name].values[control.value] : control.value);
        control.addEventListener("input", () => control.type === "range" && this.label(name, read()));
        control.addEventListener("change", () => {
          const {[name]: value} = parse(String(new URLSearchParams({[name]: read()}))); // an allowed value
          this.change({[name]: value});
          if (name === "points") this.setDrawing(value === "own" && this.state.own.length < FEWEST);
        });
      }
      this.canvases.forEach((canvas) => this.listenTo(canvas));
      document.addEventListener("visibilitychange", () => document.hidden && this.play(false));
      if (this.link) {
        addEventListener("hashchange", () => {
          if (isState(location.hash) && location.hash.slice(1) !== format(this.state)) this.restore(location.hash);
        });
      }
      // Canvases know nothing of the page's colours and widths: draw them again when these change.
      new MutationObserver(() => this.draw()).observe(document.documentElement, {attributeFilter: ["data-theme"]});
      new ResizeObserver(() => this.width !== this.root.clientWidth && this.draw()).observe(this.root);
    }

    /** Mouse, finger and keys on a plane: they look up a score, or draw. */
    listenTo(canvas) {
      let last = null; // where a stroke was a moment ago
      const stroke = (event) => {
        const here = placeOf(event, canvas);
        this.mark = here;
        if (last && Math.hypot(here[0] - last[0], here[1] - last[1]) < 0.12) return;
        last = here;
        this.spray(here, 2);
      };
      canvas.addEventListener("pointerdown", (event) => {
        if (event.button) return;
        if (!this.drawing) return this.lookUp(placeOf(event, canvas));
        canvas.setPointerCapture(event.pointerId);
        stroke(event);
      });
      canvas.addEventListener("pointermove", (event) => this.drawing && last && stroke(event));
      const end = () => {
        if (last) this.change({points: "own", own: this.state.own});
        last = null;
      };
      canvas.addEventListener("pointerup", end);
      canvas.addEventListener("pointercancel", end);
      canvas.addEventListener("keydown", (event) => {
        const by = event.shiftKey ? 1 : 0.2;
        const moves = {ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, by], ArrowDown: [0, -by]};
        const move = moves[event.key];
        if (move) {
          this.lookUp(this.mark.map((value, i) => Math.max(-6, Math.min(6, value + move[i]))));
        } else if (event.key === " " && this.drawing) {
          this.spray(this.mark, 6);
          this.change({points: "own", own: this.state.own});
        } else {
          return;
        }
        event.preventDefault(); // the page does not scroll
      });
    }

    // ---------------------------------------------------------------- the state

    /** Take over the settings of a link. */
    restore(text) {
      this.state = parse(text);
      this.start();
    }

    /** Change some settings, which starts the training anew, from the same seed. */
    change(changes) {
      Object.assign(this.state, changes);
      this.state.own = rounded(this.state.own);
      if (this.link) history.replaceState(null, "", `#${format(this.state)}`);
      this.start();
    }

    /** Fresh networks for the current settings. It plays on if it was playing. */
    start() {
      Object.values(this.gans ?? {}).forEach((gan) => gan.dispose());
      this.gans = {};
      this.steps = 0;
      this.rows = []; // one for each point of the curves: {step, aurocs and losses by name}
      this.sums = {};
      this.real = realPoints(this.state);
      this.enough = this.state.points !== "own" || this.state.own.length >= FEWEST;
      if (this.enough) {
        for (const name of this.shown) {
          const settings = {...settingsOf(this.state), ...(name === "plain" ? PLAIN : {})};
          this.gans[name] = new ALGAN(this.real.train, settings);
          this.sums[name] = {lossG: 0, lossD: 0};
        }
      } else {
        this.play(false);
      }
      this.find(".pg-play").disabled = this.find(".pg-step").disabled = !this.enough;
      this.showState();
      this.draw();
    }

    showState() {
      for (const control of this.root.querySelectorAll("[data-name]")) {
        const {name} = control.dataset;
        if (control.type === "range") {
          control.value = CHOICES[name].values.indexOf(this.state[name]);
          this.label(name, this.state[name]);
        } else {
          control.value = this.state[name];
        }
      }
      const open = this.find(".pg-open");
      if (open) open.href = `playground.html#${format(this.state)}`;
      const clear = this.find(".pg-clear");
      if (clear) clear.hidden = this.state.points !== "own";
    }

    label(name, value) {
      const slider = this.find(`input[data-name="${name}"]`);
      slider.setAttribute("aria-valuetext", String(value));
      slider.parentElement.querySelector("output").textContent = String(value);
    }

    async copy() {
      const address = `${location.href.split("#")[0]}#${format(this.state)}`;
      history.replaceState(null, "", address);
      let text = "Link copied.";
      try {
        await navigator.clipboard.writeText(address);
      } catch {
        text = "The address of this page is the link.";
      }
      const button = this.find(".pg-copy");
      button.textContent = text;
      setTimeout(() => (button.textContent = "Copy link"), 3000);
      this.say(text);
    }

    say(text) {
      this.find('[role="status"]').textContent = text;
    }

    // ---------------------------------------------------------------- drawn points

    setDrawing(on) {
      this.drawing = on;
      this.find(".pg-draw")?.setAttribute("aria-pressed", String(on));
      this.canvases.forEach((canvas) => canvas.classList.toggle("pg-drawing", on));
      if (on) this.play(false);
      this.draw();
    }

    /** Some points close to a place. The first ones replace the chosen set. */
    spray(place, n) {
      if (this.state.points !== "own") this.change({points: "own", own: []});
      const {own} = this.state;
      const random = new Random(own.length); // the same strokes give the same points
      for (let i = 0; i < n && own.length < MOST; i++) {
        const point = place.map((value) => value + 0.12 * random.normal());
        if (Math.hypot(...point) <= REACH) own.push(point);
      }
      this.real = realPoints(this.state);
      this.draw();
    }

    // ---------------------------------------------------------------- training

    play(on) {
      if (on && !this.enough) return;
      const before = this.playing;
      this.playing = on;
      this.until = Math.floor(this.steps / REST + 1) * REST;
      this.find(".pg-play").textContent = on ? "Pause" : "Play";
      if (on && !before) this.loop();
      if (!on && before && this.gans) this.draw();
    }

    loop() {
      if (!this.playing) return;
      const began = performance.now();
      do this.train();
      while (this.steps < this.until && performance.now() - began < SLICE);
      const wait = matchMedia("(prefers-reduced-motion: reduce)").matches ? CALM : WAIT;
      if (performance.now() - (this.drawn ?? 0) >= wait) this.draw();
      if (this.steps >= this.until) this.play(false);
      else setTimeout(() => this.loop());
    }

    /** One step of every detector. */
    train() {
      if (!this.enough) return;
      for (const [name, gan] of Object.entries(this.gans)) {
        const losses = gan.step();
        for (const [key, value] of Object.entries(losses)) this.sums[name][key] += value;
      }
      this.steps++;
      if (this.steps % EVERY) return;
      const row = {step: this.steps};
      for (const [name, gan] of Object.entries(this.gans)) {
        const mean = ([key, sum]) => [key, sum / EVERY];
        row[name] = {...Object.fromEntries(Object.entries(this.sums[name]).map(mean)), auroc: this.aurocOf(gan)};
        this.sums[name] = {lossG: 0, lossD: 0};
      }
      this.rows.push(row);
    }

    /** The AUROC of held-out real points against points of the ring. */
    aurocOf(gan) {
      return auroc(gan.score(this.real.heldOut), gan.score(this.ring));
    }

    threshold(gan) {
      return quantile(gan.score(this.real.heldOut), 1 - CONTAMINATION);
    }

    // ---------------------------------------------------------------- pictures

    lookUp(place) {
      this.mark = place;
      this.looked = true;
      this.draw();
      const notes = [...this.root.querySelectorAll(".pg-panel")].map(
        (panel) => `${NAMES[panel.dataset.gan]}: ${panel.querySelector(".pg-note").textContent}`,
      );
      this.say(notes.join(" "));
    }

    draw() {
      if (!this.state) return;
      this.drawn = performance.now();
      this.width = this.root.clientWidth;
      this.find(".pg-steps").textContent = String(this.steps);
      for (const name of this.shown) this.drawPanel(name);
      const steps = this.rows.map((row) => row.step);
      const colours = {plain: "quiet", algan: "first"};
      const lines = this.shown.map((name) => ({
        name: NAMES[name],
        colour: colours[name],
        values: this.rows.map((row) => row[name].auroc),
      }));
      const canvas = this.find(".pg-aurocs");
      curves(canvas, {steps, lines, top: 1, guide: 0.5});
      canvas.setAttribute("aria-label", curveText("Ring AUROC", steps, lines));
      this.root.querySelectorAll(".pg-legend canvas").forEach((each) => marker(each, each.dataset.kind));
    }

    drawPanel(name) {
      const panel = this.find(`[data-gan="${name}"]`);
      const gan = this.gans[name];
      const groups = [{kind: "real", rows: this.real.train.slice(0, SHOWN.real)}];
      const mark = this.looked || this.drawing ? this.mark : null;
      const canvas = panel.querySelector(".pg-plane");
      const note = panel.querySelector(".pg-note");
      if (!gan) {
        plane(canvas, {field: null, groups, ring: RING, mark});
        panel.querySelector(".pg-auroc").textContent = "";
        note.textContent = `Draw at least ${FEWEST} points inside the ring; there are ${this.state.own.length}.`;
      } else {
        const threshold = this.threshold(gan);
        const field = gan.score(this.places).map((score) => score - threshold);
        plane(canvas, {field, size: SIZE, groups: [...groups, ...this.fakes(name)], ring: RING, mark});
        panel.querySelector(".pg-auroc").textContent = this.aurocOf(gan).toFixed(2);
        note.textContent = mark ? verdict(mark, gan.score([mark])[0], threshold) : "Click anywhere for its score.";
      }
      const steps = this.rows.map((row) => row.step);
      const losses = this.find(`.pg-losses[data-of="${name}"]`);
      const line = (short, colour, key) => ({name: short, colour, values: this.rows.map((row) => row[name][key])});
      const lines = [line("D", "first", "lossD"), line("G", "second", "lossG")];
      curves(losses, {steps, lines, top: 2});
      losses.setAttribute("aria-label", curveText(`Losses of ${NAMES[name]}`, steps, lines));
    }

    /** Fakes to show, of the same latents every time, so that each point can be followed. */
    fakes(name) {
      const gan = this.gans[name];
      const {zDim, sigma, alpha} = gan.settings;
      const random = new Random(7);
      const z = random.array(SHOWN.fakes * zDim, () => random.normal());
      const normal = Math.round(alpha * SHOWN.fakes);
      for (let k = normal * zDim; k < z.length; k++) z[k] *= sigma;
      const rows = gan.fakes(z);
      return [
        {kind: "anomalous", rows: rows.slice(normal)},
        {kind: "fake", rows: rows.slice(0, normal)},
      ];
    }
  }

  /** What a detector says of a place, in words. */
  function verdict([x, y], score, threshold) {
    const [sign, word] = score > threshold ? ["above", "anomalous"] : ["below", "normal"];
    const at = [x, y].map((value) => value.toFixed(1)).join(", ");
    return `At (${at}) the score is ${score.toFixed(2)}, ${sign} the threshold ${threshold.toFixed(2)}: ${word}.`;
  }

  /** What a picture of curves shows, in words. */
  function curveText(what, steps, lines) {
    if (!steps.length) return `${what}: nothing yet.`;
    const ends = lines.map(({name, values}) => `${name} ${values.at(-1).toFixed(2)}`);
    return `${what} after ${steps.at(-1)} steps: ${ends.join(", ")}.`;
  }

  globalThis.Playground = {mount: (root) => (root.playground = new Playground(root))};
})();
