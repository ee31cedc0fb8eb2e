/* What paper needs that a style sheet cannot do: light colours, open solutions, and up to four frames of each flip
   book, because nothing moves on paper. Everything is as it was once the page has been printed. */
(() => {
  const undo = [];

  const frames = (book) => {
    const [slider, picture] = [book.querySelector("input"), book.querySelector("img")];
    const [name, output] = [book.querySelector("label"), book.querySelector("output")];
    const strip = document.createElement("div");
    strip.className = "flip-book-strip";
    const [now, last] = [slider.value, Number(slider.max)];
    const turn = (at) => {
      slider.value = at;
      slider.dispatchEvent(new Event("input"));
    };
    for (const at of new Set([0, 1, 2, 3].map((part) => Math.round((part * last) / 3)))) {
      turn(at);
      const cell = document.createElement("div");
      const copy = picture.cloneNode();
      copy.loading = "eager";
      cell.append(copy, `${name.textContent}: ${output.textContent}`);
      strip.append(cell);
    }
    turn(now);
    picture.after(strip);
    return strip;
  };

  window.addEventListener("beforeprint", () => {
    const root = document.documentElement;
    const theme = root.dataset.theme;
    root.dataset.theme = "light";
    undo.push(() => (root.dataset.theme = theme));
    document.querySelectorAll(".tag_hide-cell details:not([open])").forEach((fold) => {
      fold.open = true;
      undo.push(() => (fold.open = false));
    });
    document.querySelectorAll(".flip-book").forEach((book) => {
      const strip = frames(book);
      undo.push(() => strip.remove());
    });
  });

  window.addEventListener("afterprint", () => {
    while (undo.length) undo.pop()();
  });
})();
