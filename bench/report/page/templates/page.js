// What is told of a point, the filters and the search. Everything else on the page works without this.
"use strict";
(() => {
  const {labels, values} = JSON.parse(document.getElementById("runs").textContent);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // --- the run behind a point -------------------------------------------------------------------

  const tip = document.getElementById("tip");
  const REACH = 18; // pixels from a point that still mean it
  let marked = null;

  const seen = (spot) => spot.getClientRects().length > 0;
  const centre = (spot) => {
    const box = spot.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
  };

  function nearest(figure, x, y) {
    let best = null, least = REACH;
    for (const spot of all(".spot", figure)) {
      if (!seen(spot)) continue;
      const [cx, cy] = centre(spot);
      const distance = Math.hypot(cx - x, cy - y);
      if (distance < least) [best, least] = [spot, distance];
    }
    return best;
  }

  function tell(spot) {
    marked?.classList.remove("on");
    marked = spot;
    tip.hidden = !spot;
    if (!spot) return;
    spot.classList.add("on");
    tip.replaceChildren();
    const head = document.createElement("strong");
    head.textContent = spot.dataset.text;
    tip.append(head);
    const ids = spot.dataset.runs.split(" ");
    const list = document.createElement("dl");
    for (const [place, value] of (values[ids[0]] ?? []).entries()) {
      const label = labels[place];
      const term = document.createElement("dt"), what = document.createElement("dd");
      term.textContent = label;
      what.textContent = label === "run" && ids.length > 1 ? `${value}, the first of ${ids.length} seeds` : value;
      list.append(term, what);
    }
    tip.append(list);
    const [x, y] = centre(spot), room = document.documentElement;
    const left = Math.min(x + 14, room.clientWidth - tip.offsetWidth - 8);
    const top = Math.min(y + 14, room.clientHeight - tip.offsetHeight - 8);
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${Math.max(8, top)}px`;
  }

  for (const figure of all(".drawing")) {
    const point = (event) => tell(nearest(figure, event.clientX, event.clientY));
    figure.addEventListener("pointermove", point);
    figure.addEventListener("click", point);
    figure.addEventListener("pointerleave", () => tell(null));
    figure.addEventListener("blur", () => tell(null));
    figure.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") tell(null);
      const spots = all(".spot", figure).filter(seen);
      if (!step || !spots.length) return;
      event.preventDefault();
      const at = spots.indexOf(marked);
      tell(spots[at < 0 ? (step > 0 ? 0 : spots.length - 1) : (at + step + spots.length) % spots.length]);
    });
  }
  addEventListener("scroll", () => tell(null), { passive: true });

  // --- filters and search -----------------------------------------------------------------------

  const controls = document.getElementById("controls");
  const status = document.getElementById("shown");
  controls.hidden = false;
  const parts = all("[data-part]");

  function refresh() {
    const task = controls.elements.task.value;
    const words = controls.elements.words.value.trim().toLowerCase();
    const off = new Set(all("input[name=architecture]", controls).filter((box) => !box.checked).map((box) => box.value));
    for (const part of all("[data-architecture]")) {
      part.classList.toggle("off", off.has(part.dataset.architecture));
    }
    for (const panel of all("g[data-task]")) {
      panel.classList.toggle("dim", task !== "" && panel.dataset.task !== task);
    }
    let shown = 0;
    for (const part of parts) {
      const tasks = part.dataset.tasks ? JSON.parse(part.dataset.tasks) : [];
      const fits = task === "" || tasks.includes(task);
      const found = words === "" || part.textContent.toLowerCase().includes(words);
      part.hidden = !(fits && found);
      shown += !part.hidden;
    }
    if (words) all("details[data-search]").forEach((each) => { each.open = true; });
    const idle = task === "" && words === "" && off.size === 0;
    status.textContent = idle ? "" : `${shown} of ${parts.length} parts shown.`;
  }
  controls.addEventListener("input", refresh);
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("reset", () => setTimeout(refresh));

  // A link to something folded opens it; paper has nothing to click on.
  function unfold() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (target) target.scrollIntoView();
  }
  addEventListener("hashchange", unfold);
  unfold();
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    closed.forEach((each) => { each.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((each) => { each.open = false; }));
})();
