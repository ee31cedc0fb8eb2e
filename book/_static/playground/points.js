// Random numbers from a seed, the sets of points to learn from, and what is measured on them. Nothing here learns.

(() => {
  "use strict";

  // ------------------------------------------------------------------ random numbers

  /** Seeded random numbers (mulberry32), so that the same seed gives the same result on every visit. */
  class Random {
    constructor(seed) {
      this.state = seed >>> 0;
      this.spare = null; // the second of the two normal numbers that are made at once
    }

    /** A number from [0, 1). */
    uniform() {
      this.state = (this.state + 0x6d2b79f5) | 0;
      let t = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    }

    /** A number from N(0, 1), by the method of Box and Muller. */
    normal() {
      if (this.spare !== null) {
        const spare = this.spare;
        this.spare = null;
        return spare;
      }
      const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
      const angle = 2 * Math.PI * this.uniform();
      this.spare = radius * Math.sin(angle);
      return radius * Math.cos(angle);
    }

    /** n numbers, each made by draw(). */
    array(n, draw) {
      return Float32Array.from({length: n}, draw);
    }

    /** The numbers 0 to n - 1 in random order. */
    permutation(n) {
      const order = Array.from({length: n}, (_, i) => i);
      for (let i = n - 1; i > 0; i--) {
        const j = Math.floor(this.uniform() * (i + 1));
        [order[i], order[j]] = [order[j], order[i]];
      }
      return order;
    }
  }

  // ------------------------------------------------------------------ points

  const around = (random, x, y, spread) => [x + spread * random.normal(), y + spread * random.normal()];

  /** The sets of points to choose from, one random point at a time; the first three are minigan's `data.toy`. */
  const SETS = {
    cloud: (random) => around(random, 0, 0, 1),
    eight: (random) => {
      const angle = (Math.floor(8 * random.uniform()) * Math.PI) / 4;
      return around(random, 2 * Math.cos(angle), 2 * Math.sin(angle), 0.15);
    },
    moons: (random) => {
      const [angle, lower] = [Math.PI * random.uniform(), random.uniform() < 0.5];
      const [x, y] = [Math.cos(angle), Math.sin(angle)];
      const [a, b] = lower ? [1 - x, 0.5 - y] : [x, y];
      return around(random, 1.6 * (a - 0.5), 1.6 * (b - 0.25), 0.12);
    },
    circle: (random) => {
      const angle = 2 * Math.PI * random.uniform();
      return around(random, 2 * Math.cos(angle), 2 * Math.sin(angle), 0.15);
    },
  };

  /** n random points of a set, as rows [x, y]. */
  function toy(name, n, seed) {
    const random = new Random(seed);
    return Array.from({length: n}, () => SETS[name](random));
  }

  /** n random points whose distance from the middle lies between low and high, as rows [x, y]. */
  function surroundings(n, low, high, seed) {
    const random = new Random(seed);
    return Array.from({length: n}, () => {
      const radius = low + (high - low) * random.uniform();
      const angle = 2 * Math.PI * random.uniform();
      return [radius * Math.cos(angle), radius * Math.sin(angle)];
    });
  }

  // ------------------------------------------------------------------ metrics, as in minigan.metrics

  /** The probability that an anomaly scores higher than a normal point; a tie counts half. */
  function auroc(normal, anomalous) {
    const sorted = Float64Array.from(normal).sort();
    // How many of the normal scores are below x, or (strictly = false) not above it.
    const count = (x, strictly) => {
      let [low, high] = [0, sorted.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (strictly ? sorted[middle] < x : sorted[middle] <= x) low = middle + 1;
        else high = middle;
      }
      return low;
    };
    let sum = 0;
    for (const x of anomalous) sum += (count(x, true) + count(x, false)) / 2;
    return sum / (normal.length * anomalous.length);
  }

  /** The q-quantile of some numbers, interpolated linearly between neighbours, as numpy does. */
  function quantile(values, q) {
    const sorted = Float64Array.from(values).sort();
    const at = q * (sorted.length - 1);
    const low = Math.floor(at);
    return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
  }

  globalThis.Points = {Random, SETS, toy, surroundings, auroc, quantile};
})();
