// The pictures of a playground: a field with points on it, and curves. In the colours of the book's figures, which
// playground.css gives for the light and the dark page.

(() => {
  "use strict";

  const {d3} = globalThis;

  const VIEW = 6.5; // the picture reaches from -VIEW to VIEW in both directions
  // Bands of the score above the threshold; the same in every picture, so that a colour keeps its meaning.
  const STEPS = [0.1, 0.25, 0.5, 1, 1.5, 2, 3];
  const EDGES = [...STEPS.map((step) => -step).reverse(), 0, ...STEPS];

  /** A colour that playground.css gives. */
  const colour = (element, name) => getComputedStyle(element).getPropertyValue(`--pg-${name}`).trim();

  /** The canvas's context, in CSS pixels, with the size that the page gives it. */
  function fresh(canvas) {
    const {width, height} = canvas.getBoundingClientRect();
    const scale = globalThis.devicePixelRatio || 1;
    const [across, down] = [Math.round(width * scale), Math.round(height * scale)];
    if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, {width: across, height: down});
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    return {context, width, height};
  }

  /** A colour between three: -1 is the first, 0 the second, 1 the third; each "#rrggbb". */
  function between(colours, at) {
    const [from, to] = at < 0 ? [colours[1], colours[0]] : [colours[1], colours[2]];
    const part = Math.min(1, Math.abs(at));
    const channel = (hex, i) => Number.parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16);
    const mixed = [0, 1, 2].map((i) => Math.round(channel(from, i) + part * (channel(to, i) - channel(from, i))));
    return `rgb(${mixed.join(",")})`;
  }

  /** The places at which a field of `size` x `size` numbers is computed, from the top left, row by row. */
  function grid(size) {
    const at = (i) => -VIEW + (2 * VIEW * i) / (size - 1);
    return Array.from({length: size * size}, (_, k) => [at(k % size), -at(Math.floor(k / size))]);
  }

  const SHAPES = {
    real: (c, x, y, r) => c.arc(x, y, r, 0, 2 * Math.PI),
    fake: (c, x, y, r) => {
      c.moveTo(x, y - 1.3 * r);
      c.lineTo(x + 1.2 * r, y + 0.9 * r);
      c.lineTo(x - 1.2 * r, y + 0.9 * r);
      c.closePath();
    },
    anomalous: (c, x, y, r) => {
      const [long, wide] = [1.3 * r, 0.5 * r];
      const corners = [
        [0, wide], [long - wide, long], [long, long - wide], [wide, 0], [long, wide - long], [long - wide, -long],
        [0, -wide], [wide - long, -long], [-long, wide - long], [-wide, 0], [-long, long - wide], [wide - long, long],
      ];
      corners.forEach(([dx, dy]) => c.lineTo(x + dx, y + dy));
      c.closePath();
    },
  };

  /** One marker of a kind, as in the picture; for the legend. */
  function marker(canvas, kind) {
    const {context, width, height} = fresh(canvas);
    draw(context, canvas, kind, [[width / 2, height / 2]], 4.5);
  }

  function draw(context, canvas, kind, places, radius) {
    context.fillStyle = colour(canvas, kind);
    context.strokeStyle = colour(canvas, "edge");
    context.lineWidth = 0.9;
    for (const [x, y] of places) {
      context.beginPath();
      SHAPES[kind](context, x, y, radius);
      context.stroke();
      context.fill();
    }
  }

  /**
   * The plane: the score above the threshold (size x size numbers, or null) as bands of colour with a line at zero,
   * groups of points {kind, rows}, the two circles that bound the ring, and a mark at a place that is looked up.
   */
  function plane(canvas, {field, size, groups, ring, mark}) {
    const {context, width} = fresh(canvas); // as high as wide
    const place = ([x, y]) => [((x + VIEW) / (2 * VIEW)) * width, ((VIEW - y) / (2 * VIEW)) * width];
    const colours = ["low", "middle", "high"].map((name) => colour(canvas, name));
    context.fillStyle = field ? between(colours, -1) : colours[1];
    context.fillRect(0, 0, width, width);
    if (field) {
      const trace = ({coordinates}) => {
        context.beginPath();
        for (const line of coordinates.flat()) {
          // d3-contour counts from the corner of the first cell; ours is the middle of that cell.
          const [first, ...others] = line.map((row) => row.map((at) => ((at - 0.5) / (size - 1)) * width));
          context.moveTo(...first);
          others.forEach((row) => context.lineTo(...row));
          context.closePath();
        }
      };
      const bands = d3.contours().size([size, size]).thresholds(EDGES)(field);
      bands.forEach((band, i) => {
        trace(band);
        // The middle of the band above this edge, counted in bands from the line.
        context.fillStyle = between(colours, (i + 0.5 - STEPS.length) / STEPS.length);
        context.fill("evenodd"); // holes stay open
      });
      trace(bands[STEPS.length]); // the edge at zero
      context.strokeStyle = colour(canvas, "line");
      context.lineWidth = 1.6;
      context.stroke();
    }
    context.setLineDash([1.5, 4]);
    context.lineCap = "round";
    context.lineWidth = 1.4;
    context.strokeStyle = colour(canvas, "quiet");
    for (const radius of ring) {
      context.beginPath();
      context.arc(width / 2, width / 2, (radius / (2 * VIEW)) * width, 0, 2 * Math.PI);
      context.stroke();
    }
    context.setLineDash([]);
    const radius = Math.max(2, width / 150);
    for (const {kind, rows} of groups) draw(context, canvas, kind, rows.map(place), kind === "real" ? radius : 1.25 * radius);
    if (mark) {
      const [x, y] = place(mark);
      for (const [thickness, name] of [[4, "edge"], [2, "mark"]]) {
        context.lineWidth = thickness;
        context.strokeStyle = colour(canvas, name);
        context.beginPath();
        context.arc(x, y, 9, 0, 2 * Math.PI);
        for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
          context.moveTo(x + 5 * dx, y + 5 * dy);
          context.lineTo(x + 13 * dx, y + 13 * dy);
        }
        context.stroke();
      }
    }
  }

  /** The place in the plane under a pointer event on its canvas: [x, y]. */
  function placeOf(event, canvas) {
    const box = canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 2 * VIEW - VIEW;
    return [x, VIEW - ((event.clientY - box.top) / box.height) * 2 * VIEW];
  }

  /** Curves over the steps: lines {name, colour, values}, a number for each of `steps`, from 0 to `top`. */
  function curves(canvas, {steps, lines, top, guide}) {
    const {context, width, height} = fresh(canvas);
    const [left, right, upper, lower] = [30, 74, 8, 22]; // names stand on the right
    const last = Math.max(200, steps.at(-1) ?? 0);
    const x = (step) => left + (step / last) * (width - left - right);
    const y = (value) => upper + (1 - Math.min(1, Math.max(0, value / top))) * (height - upper - lower);
    context.font = `12px ${getComputedStyle(canvas).fontFamily}`;
    context.fillStyle = context.strokeStyle = colour(canvas, "quiet");
    context.lineWidth = 1;
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (const value of [0, top / 2, top]) context.fillText(String(value), left - 6, y(value));
    context.textBaseline = "alphabetic";
    context.textAlign = "center";
    for (const step of [0, last / 2, last]) context.fillText(String(Math.round(step)), x(step), height - 5);
    context.fillText("step", width - right / 2 + 8, height - 5);
    context.beginPath();
    context.moveTo(left, upper);
    context.lineTo(left, height - lower);
    context.lineTo(width - right, height - lower);
    context.stroke();
    if (guide) {
      context.setLineDash([1.5, 4]);
      context.beginPath();
      context.moveTo(left, y(guide));
      context.lineTo(width - right, y(guide));
      context.stroke();
      context.setLineDash([]);
    }
    if (!steps.length) return;
    // Names stand at the ends of the lines, and apart from each other.
    const names = lines.map((line) => ({...line, at: y(line.values.at(-1))})).sort((a, b) => a.at - b.at);
    for (let i = 1; i < names.length; i++) names[i].at = Math.max(names[i].at, names[i - 1].at + 14);
    const beyond = Math.max(0, names.at(-1).at - (height - lower));
    context.textAlign = "left";
    context.textBaseline = "middle";
    for (const {name, colour: kind, values, at} of names) {
      context.strokeStyle = context.fillStyle = colour(canvas, kind);
      context.lineWidth = 2;
      context.lineJoin = "round";
      context.beginPath();
      values.forEach((value, i) => context.lineTo(x(steps[i]), y(value)));
      context.stroke();
      context.fillText(name, x(steps.at(-1)) + 6, at - beyond);
    }
  }

  globalThis.PlaygroundPicture = {VIEW, grid, plane, curves, marker, placeOf};
})();
