// ALGAN and the plain GAN on points of the plane, in TensorFlow.js: their networks, losses and updates.
//
// The same algorithm as minigan's ALGANFeature (minigan/models/algan.py), line by line; the line numbers are
// those of Algorithm 1 in its paper. tests/test_playground.py gives both the same weights, batches and noise
// and compares scores and updates. Nothing here knows the page: that is playground.js.
//
// A plain GAN is ALGAN with alpha = 1 (no anomalous latents) and bufferBatches = 0 (no buffer).

(() => {
  "use strict";

  const {tf} = globalThis;
  const {Random} = globalThis.Points;

  /** The hyperparameters, with the names and the meanings of ALGANFeature. */
  const DEFAULTS = {
    seed: 0,
    sigma: 4, // standard deviation of the anomalous latents; 1 makes them normal
    alpha: 0.75, // fraction of normal latents among those of D's fakes; 1: no anomalous ones
    xi: 0.75, // weight of fresh fakes in D's loss; buffered ones have 1 - xi
    nZ: 2, // draw new latents every nZ epochs
    nDis: 2, // updates of D per batch; G has one
    bufferBatches: 2, // size of the buffer in batches; 0: no buffer
    lrG: 1e-3, // learning rates of Adam, and its momentums
    lrD: 1e-3,
    betas: [0, 0.9],
    batchNorm: "none", // in G: "none", "batch" or "running", as in ALGAN.batch_norm
    batchSize: 64,
    width: 64, // units of the two hidden layers of each network
    zDim: 100, // dimensions of the latent vector
  };

  const LEAK = 0.2; // slope of the leaky ReLU for negative numbers
  const NORM_EPS = 1e-5; // added to the variance by batch norm, as PyTorch does
  const MOMENTUM = 0.1; // part of the newest batch in batch norm's running statistics
  const ADAM_EPS = 1e-8; // PyTorch's

  // ------------------------------------------------------------------ layers

  // TensorFlow.js numbers all variables of a page in its own way; the names here are only for readers.
  const variable = (values, shape, trainable = true) => tf.tidy(() => tf.variable(tf.tensor(values, shape), trainable));

  /** A linear layer, y = x W^T + b, with PyTorch's layout: W is (outputs, inputs). */
  class Linear {
    constructor(random, inputs, outputs, {bias = true, std = null} = {}) {
      // DCGAN's N(0, std^2) with biases 0, or without std PyTorch's default: uniform, of width 1 / sqrt(inputs).
      const bound = 1 / Math.sqrt(inputs);
      const uniform = () => bound * (2 * random.uniform() - 1);
      const weight = random.array(inputs * outputs, std ? () => std * random.normal() : uniform);
      this.weight = variable(weight, [outputs, inputs]);
      this.bias = bias ? variable(random.array(outputs, std ? () => 0 : uniform), [outputs]) : null;
    }

    get parameters() {
      return this.bias ? [this.weight, this.bias] : [this.weight];
    }

    forward(x, weight = this.weight) {
      const y = tf.matMul(x, weight, false, true);
      return this.bias ? tf.add(y, this.bias) : y;
    }
  }

  /** A linear layer whose weight is divided by its largest singular value (Miyato et al., 2018). */
  class SpectralLinear extends Linear {
    constructor(random, inputs, outputs) {
      super(random, inputs, outputs, {std: 0.02});
      // Estimates of the singular vectors. They are no parameters: no gradient passes through them.
      this.u = unit(random.array(outputs, () => random.normal()));
      this.v = unit(random.array(inputs, () => random.normal()));
      for (let i = 0; i < 15; i++) this.iterate();
    }

    /** One power iteration, as each pass through the network makes one in training. */
    iterate() {
      const weight = this.weight.dataSync(); // row by row
      const [outputs, inputs] = this.weight.shape;
      const Wv = new Float32Array(outputs);
      for (let i = 0; i < outputs; i++) for (let j = 0; j < inputs; j++) Wv[i] += weight[i * inputs + j] * this.v[j];
      this.u = unit(Wv);
      const Wtu = new Float32Array(inputs);
      for (let i = 0; i < outputs; i++) for (let j = 0; j < inputs; j++) Wtu[j] += weight[i * inputs + j] * this.u[i];
      this.v = unit(Wtu);
    }

    forward(x) {
      const largest = tf.sum(tf.mul(tf.outerProduct(this.u, this.v), this.weight)); // u^T W v
      return super.forward(x, tf.div(this.weight, largest));
    }
  }

  /** A vector divided by its length. */
  function unit(x) {
    const length = Math.max(Math.hypot(...x), 1e-12);
    return x.map((value) => value / length);
  }

  /** Batch norm: (n, d) -> (n, d), with the statistics of the batch or with their running averages. */
  class BatchNorm {
    constructor(random, d) {
      this.scale = variable(random.array(d, () => 1 + 0.02 * random.normal()), [d]);
      this.shift = variable(new Float32Array(d), [d]);
      this.mean = variable(new Float32Array(d), [d], false);
      this.variance = variable(new Float32Array(d).fill(1), [d], false);
    }

    get parameters() {
      return [this.scale, this.shift];
    }

    forward(x, {training, remember}) {
      let [mean, variance] = [this.mean, this.variance];
      if (training) {
        ({mean, variance} = tf.moments(x, 0)); // the variance is the biased one, over n
        if (remember) {
          const n = x.shape[0];
          const mix = (old, current) => old.assign(tf.add(tf.mul(old, 1 - MOMENTUM), tf.mul(current, MOMENTUM)));
          mix(this.mean, mean);
          mix(this.variance, tf.mul(variance, n / (n - 1)));
        }
      }
      const standardised = tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, NORM_EPS)));
      return tf.add(tf.mul(standardised, this.scale), this.shift);
    }
  }

  // ------------------------------------------------------------------ networks

  /** From latent vectors to points: (n, zDim) -> (n, 2). Three linear layers, no output activation. */
  class Generator {
    constructor(random, {zDim, width, batchNorm}) {
      const normed = batchNorm !== "none";
      // Small weights only with batch norm; without it the outputs would hardly vary.
      const std = normed ? 0.02 : null;
      this.linears = [
        new Linear(random, zDim, width, {bias: !normed, std}),
        new Linear(random, width, width, {bias: !normed, std}),
        new Linear(random, width, 2, {std}),
      ];
      this.norms = normed ? [new BatchNorm(random, width), new BatchNorm(random, width)] : [];
    }

    /** In PyTorch's order: each layer, and the batch norm that follows it. */
    get parameters() {
      return this.linears.flatMap((layer, i) => [...layer.parameters, ...(this.norms[i]?.parameters ?? [])]);
    }

    /** training: batch norm uses the batch's own statistics; remember: it also adds them to the running ones. */
    forward(z, {training = false, remember = training} = {}) {
      let x = z;
      for (const i of [0, 1]) {
        x = this.linears[i].forward(x);
        if (this.norms.length) x = this.norms[i].forward(x, {training, remember});
        x = tf.relu(x);
      }
      return this.linears[2].forward(x);
    }
  }

  /** From points to "how real", a raw number: (n, 2) -> (n,). Three linear layers with spectral norm. */
  class Discriminator {
    constructor(random, {width}) {
      this.linears = [
        new SpectralLinear(random, 2, width),
        new SpectralLinear(random, width, width),
        new SpectralLinear(random, width, 1),
      ];
    }

    get parameters() {
      return this.linears.flatMap((layer) => layer.parameters);
    }

    iterate() {
      this.linears.forEach((layer) => layer.iterate());
    }

    forward(x) {
      const [first, second, last] = this.linears;
      const h = tf.leakyRelu(second.forward(tf.leakyRelu(first.forward(x), LEAK)), LEAK);
      return tf.reshape(last.forward(h), [-1]); // (n, 1) -> (n,)
    }
  }

  // ------------------------------------------------------------------ losses, of D's raw outputs (n,)

  const bceReal = (raw) => tf.mean(tf.softplus(tf.neg(raw))); // the mean of -log D(x)
  const bceFake = (raw) => tf.mean(tf.softplus(raw)); // the mean of -log(1 - D(x))

  /** Eq. 3 for D, to be minimised. Without buffered fakes the fresh ones have the whole weight. */
  function lossD(real, fresh, buffered, xi) {
    if (!buffered) return tf.add(bceReal(real), bceFake(fresh));
    const fakes = tf.add(tf.mul(xi, bceFake(fresh)), tf.mul(1 - xi, bceFake(buffered)));
    return tf.add(bceReal(real), fakes);
  }

  /** G's loss, -log D(G(z)): its fakes should be called real. */
  const lossG = (fake) => bceReal(fake);

  // ------------------------------------------------------------------ the buffer of earlier fakes

  /** Earlier fakes; when it is full, new ones replace random old ones. Rows are points, [x, y]. */
  class ReplayBuffer {
    constructor(capacity, random) {
      Object.assign(this, {capacity, random, rows: []});
    }

    add(rows) {
      const fresh = rows.slice(0, this.capacity);
      const free = Math.min(this.capacity - this.rows.length, fresh.length);
      // Chosen before the new ones are added.
      const replaced = this.random.permutation(this.rows.length).slice(0, fresh.length - free);
      replaced.forEach((at, i) => (this.rows[at] = fresh[free + i]));
      this.rows.push(...fresh.slice(0, free));
    }

    /** n different random rows, or all of them if there are fewer. */
    sample(n) {
      return this.random.permutation(this.rows.length).slice(0, n).map((i) => this.rows[i]);
    }
  }

  // ------------------------------------------------------------------ the detector

  /** ALGAN, or a plain GAN, that learns from points: an array of rows [x, y], at least two. */
  class ALGAN {
    constructor(points, settings = {}) {
      this.settings = {...DEFAULTS, ...settings};
      const {seed, width, zDim, batchNorm, lrG, lrD, betas, batchSize, bufferBatches} = this.settings;
      this.standardise = standardisation(points);
      this.points = points.map(this.standardise.apply);
      this.batchSize = Math.min(batchSize, points.length);
      this.stepsPerEpoch = Math.floor(points.length / this.batchSize);
      // One stream for weights, one for batches and latents, one for the buffer: two detectors with the same
      // seed start from the same weights and see the same batches and latents, whatever their settings.
      const weights = new Random(3 * seed);
      this.random = new Random(3 * seed + 1);
      this.buffer = bufferBatches ? new ReplayBuffer(bufferBatches * this.batchSize, new Random(3 * seed + 2)) : null;
      this.G = new Generator(weights, {zDim, width, batchNorm});
      this.D = new Discriminator(weights, {width});
      this.optG = tf.train.adam(lrG, ...betas, ADAM_EPS);
      this.optD = tf.train.adam(lrD, ...betas, ADAM_EPS);
      this.epoch = 0; // from 1 while training
      this.steps = 0; // batches so far
    }

    /** Latents z ~ alpha N(0, I) + (1 - alpha) N(0, sigma^2 I), a mixture (Eq. 2): n * zDim numbers. */
    latents(n, alpha = 1) {
      const {zDim, sigma} = this.settings;
      const z = this.random.array(n * zDim, () => this.random.normal());
      for (let i = 0; i < n; i++) {
        if (this.random.uniform() < alpha) continue;
        for (let k = i * zDim; k < (i + 1) * zDim; k++) z[k] *= sigma;
      }
      return z;
    }

    /** Algorithm 1, lines 2-5: every nZ epochs, latents for all batches of an epoch. */
    startEpoch() {
      this.epoch++;
      this.order = this.random.permutation(this.points.length);
      if (this.epoch === 1 || this.epoch % this.settings.nZ === 0) {
        const batches = Array.from({length: this.stepsPerEpoch});
        this.zD = batches.map(() => this.latents(this.batchSize, this.settings.alpha)); // line 3
        this.zG = batches.map(() => this.latents(this.batchSize)); // line 4
      }
    }

    /** The next batch; returns both losses. */
    step() {
      const at = this.steps % this.stepsPerEpoch;
      if (at === 0) this.startEpoch();
      this.steps++;
      const rows = this.order.slice(at * this.batchSize, (at + 1) * this.batchSize).map((i) => this.points[i]);
      const draw = this.epoch > 1 && this.buffer ? () => this.buffer.sample(this.batchSize) : null; // line 10
      return this.trainingStep(rows, this.zD[at], this.zG[at], draw);
    }

    /** Algorithm 1, lines 7-20, for one batch of standardised rows; `draw` gives rows of the buffer, or is null. */
    trainingStep(rows, zD, zG, draw) {
      const {G, D} = this;
      const {nDis, xi, batchNorm} = this.settings;
      const n = rows.length;
      return tf.tidy(() => {
        const x = tf.tensor2d(rows);
        const [latentsD, latentsG] = [zD, zG].map((z) => tf.tensor2d(z, [n, z.length / n]));
        const fresh = G.forward(latentsD, {training: batchNorm !== "running"}); // line 9: G does not learn here
        let errorD;
        for (let i = 0; i < nDis; i++) { // line 8
          const batches = [x, fresh];
          if (draw) batches.push(tf.tensor2d(draw())); // line 13
          const sizes = batches.map((batch) => batch.shape[0]);
          D.iterate();
          errorD = update(this.optD, D.parameters, () => {
            const [real, fake, buffered] = tf.split(D.forward(tf.concat(batches)), sizes);
            return lossD(real, fake, buffered, xi); // lines 11, 14
          }); // line 16
        }
        if (this.buffer) this.buffer.add(fresh.arraySync()); // line 18

        D.iterate();
        // The gradient passes through D to G; only G's parameters are given to the optimiser.
        const errorG = update(this.optG, G.parameters, () =>
          lossG(D.forward(G.forward(latentsG, {training: true}))),
        ); // lines 19 and 20
        return {lossD: errorD, lossG: errorG};
      });
    }

    /** The anomaly score, minus D's raw output: rows [x, y] -> (n,) Float32Array. */
    score(rows) {
      const standardised = rows.map(this.standardise.apply);
      return tf.tidy(() => tf.neg(this.D.forward(tf.tensor2d(standardised))).dataSync());
    }

    /** The fakes of these latents (n * zDim numbers), as D is shown them in training: rows [x, y]. */
    fakes(z) {
      const training = this.settings.batchNorm === "batch";
      const n = z.length / this.settings.zDim;
      const rows = tf.tidy(() =>
        this.G.forward(tf.tensor2d(z, [n, this.settings.zDim]), {training, remember: false}).arraySync(),
      );
      return rows.map(this.standardise.undo);
    }

    /** Free the memory of the networks and the optimisers. */
    dispose() {
      this.optG.dispose();
      this.optD.dispose();
      const {G, D} = this;
      const statistics = G.norms.flatMap((norm) => [norm.mean, norm.variance]);
      tf.dispose([...G.parameters, ...D.parameters, ...statistics]);
    }
  }

  /** One step of an optimiser for these parameters; returns the loss before it. */
  function update(optimiser, parameters, loss) {
    const {value, grads} = tf.variableGrads(loss, parameters);
    optimiser.applyGradients(grads);
    return value.dataSync()[0];
  }

  /** (x - mean) / std with the mean and standard deviation of the rows; a constant coordinate is only shifted. */
  function standardisation(rows) {
    const n = rows.length;
    const mean = [0, 1].map((k) => rows.reduce((sum, row) => sum + row[k], 0) / n);
    const std = [0, 1].map((k) => {
      if (rows.every((row) => row[k] === rows[0][k])) return 1;
      return Math.sqrt(rows.reduce((sum, row) => sum + (row[k] - mean[k]) ** 2, 0) / (n - 1));
    });
    return {
      apply: (row) => [0, 1].map((k) => (row[k] - mean[k]) / std[k]),
      undo: (row) => [0, 1].map((k) => row[k] * std[k] + mean[k]),
    };
  }

  globalThis.Algan = {ALGAN, DEFAULTS};
})();
