// Starts every playground of a page: loads what it needs, in order, and fills each <div class="playground">.
// The files lie beside this one, so that a page works from a file and without a network.

(() => {
  "use strict";

  if (globalThis.playgroundStarted) return; // a page may name this script twice
  globalThis.playgroundStarted = true;
  const here = document.currentScript.src;
  const at = (path) => new URL(path, here).href;

  const styles = document.createElement("link");
  Object.assign(styles, {rel: "stylesheet", href: at("playground.css")});
  document.head.append(styles);

  const load = (path) =>
    new Promise((resolve, reject) => {
      const script = document.createElement("script");
      Object.assign(script, {src: at(path), onload: resolve, onerror: () => reject(new Error(`not loaded: ${path}`))});
      document.head.append(script);
    });

  const files = [
    "../vendor/tfjs/tf.es2017.min.js",
    "../vendor/d3-array/d3-array.min.js",
    "../vendor/d3-contour/d3-contour.min.js",
    "points.js",
    "algan.js",
    "state.js",
    "picture.js",
    "controls.js",
    "playground.js",
  ];
  const startAll = async () => {
    const places = document.querySelectorAll("div.playground");
    if (!places.length) return;
    for (const file of files) await load(file);
    globalThis.tf.enableProdMode();
    // The CPU's backend: the same numbers on every visit, and small networks gain nothing from a graphics card.
    await globalThis.tf.setBackend("cpu");
    places.forEach((place) => globalThis.Playground.mount(place));
  };
  // Where something is missing, the sentence that stands in the page already remains.
  const start = () => startAll().catch((error) => console.error(error));
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
