// The points of figures, the filters, the search and the table of runs. Everything else works without this.
// The filters live in the address: #figure-5&task=Sparse+parity&without=mamba&run=1a2b3c4d5e6f
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("runs").textContent);
  // A cell of a shared column is a place in the list of that column's values.
  const value = (name, cell) => name in data.shared ? data.shared[name][cell] : cell;
  const runs = data.rows.map((row) => Object.fromEntries(data.columns.map((name, place) => [name, value(name, row[place])])));
  for (const run of runs) {
    run.settings = run.settings.map((place) => data.pairs[place]);
    const [places, ...losses] = run.loss;
    run.loss = losses.map((loss) => loss === null ? NaN : loss / 10 ** places);
  }
  const byId = new Map(runs.map((run) => [run.id, run]));
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const field = (id) => document.getElementById(id);

  function make(tag, attributes = {}, ...children) {
    const space = ["svg", "polyline", "text", "line", "circle"].includes(tag) ? "http://www.w3.org/2000/svg" : null;
    const element = space ? document.createElementNS(space, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  // --- numbers ------------------------------------------------------------------------------------

  const scientific = (value) => value.toExponential(2).replace("e+", "e");
  const number = (value) => value === null ? "–" : value !== 0 && Math.abs(value) < 1e-3 ? scientific(value) : String(Number(value.toPrecision(4)));
  const scored = (value, error) => value === null ? "–" : error ? `${number(value)} ± ${number(Number(error.toPrecision(2)))}` : number(value);
  const rate = (value) => value < 0.01 ? value.toExponential().replace("e+", "e") : String(value);
  const duration = (seconds) => seconds === null ? "–" : seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
  const recorded = (run, label) => run.provenance.find(([name]) => name === label)?.[1] ?? "not recorded";

  function facts(run) {
    return [
      ["run", run.id], ["task", run.task], ["architecture", run.series], ["size", run.size],
      ["parameters", run.parameters], ["learning rate", rate(run.learning_rate)], ["seed", String(run.seed)],
      ["state", run.state], ["training steps", run.steps.toLocaleString("en")],
      ["training FLOPs", scientific(run.flops)], [run.score_label, scored(run.score, run.score_error)],
      ["wall time", duration(run.seconds)], ["device", recorded(run, "device")], ["commit", recorded(run, "commit")],
    ];
  }

  const definitions = (pairs) => make("dl", {}, ...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));

  // --- the address --------------------------------------------------------------------------------

  let anchor = "", state = new URLSearchParams();

  function readAddress() {
    const parts = location.hash.slice(1).split("&");
    anchor = decodeURIComponent(parts.find((part) => part && !part.includes("=")) ?? "");
    state = new URLSearchParams(parts.filter((part) => part.includes("=")).join("&"));
  }

  function writeAddress() {
    history.replaceState(null, "", "#" + [encodeURIComponent(anchor), state.toString()].filter(Boolean).join("&"));
  }

  function set(key, value) {
    if (value) state.set(key, value); else state.delete(key);
    writeAddress();
  }

  const list = (key) => (state.get(key) ?? "").split(",").filter(Boolean);

  // --- the run behind a point ---------------------------------------------------------------------

  const tip = field("tip");
  const REACH = 18; // pixels from a point that still mean it
  let marked = null;

  const seen = (spot) => spot.getClientRects().length > 0;
  const centre = (spot) => {
    const box = spot.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
  };

  // The text of a spot is that of its groups, with which their texts begin, and its own.
  const words = (spot) => [...new Set([spot.closest(".spots"), spot.parentElement, spot])].map((part) => part.dataset.text ?? "").join("");

  function nearest(figure, x, y) {
    let best = null, least = REACH;
    for (const spot of all(".spots circle", figure).filter(seen)) {
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
    const { first, seeds } = spot.closest("[data-first]").dataset, run = byId.get(first);
    const pairs = run ? facts(run) : [];
    if (seeds && run) pairs[0] = ["run", `${run.id}, the first of ${seeds} seeds`];
    tip.replaceChildren(make("strong", {}, words(spot)), definitions(pairs));
    const [x, y] = centre(spot), room = document.documentElement;
    tip.style.left = `${Math.max(8, Math.min(x + 14, room.clientWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(8, Math.min(y + 14, room.clientHeight - tip.offsetHeight - 8))}px`;
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
      const spots = all(".spots circle", figure).filter(seen);
      if (!step || !spots.length) return;
      event.preventDefault();
      const at = spots.indexOf(marked);
      tell(spots[at < 0 ? (step > 0 ? 0 : spots.length - 1) : (at + step + spots.length) % spots.length]);
    });
  }
  addEventListener("scroll", () => tell(null), { passive: true });

  // --- the table of runs --------------------------------------------------------------------------

  const COLUMNS = [
    ["id", "run", (run) => run.id], ["task", "task", (run) => run.task], ["series", "architecture", (run) => run.series],
    ["size", "size", (run) => run.size], ["learning_rate", "learning rate", (run) => rate(run.learning_rate)],
    ["seed", "seed", (run) => String(run.seed)], ["state", "state", (run) => run.state],
    ["score", "score on test prompts", (run) => scored(run.score, run.score_error)],
    ["flops", "training FLOPs", (run) => scientific(run.flops)], ["seconds", "wall time", (run) => duration(run.seconds)],
  ];
  const TEXT = new Set(["id", "task", "series", "size", "state"]);
  const FIRST = 50; // rows before "Show all"
  const table = field("run-table"), more = field("more-runs"), beside = field("beside");
  let whole = false;

  const matches = (run, words) => COLUMNS.map(([, , text]) => text(run)).join(" ").toLowerCase().includes(words);

  function chosenRuns() {
    const off = new Set(list("without")), words = (state.get("q") ?? "").toLowerCase();
    return runs.filter((run) =>
      (!state.get("task") || run.family === state.get("task")) && !off.has(run.architecture) &&
      (!state.get("state") || run.state === state.get("state")) && (!words || matches(run, words)));
  }

  function sorted(rows) {
    const name = (state.get("sort") ?? "").replace(/^-/, ""), sign = state.get("sort")?.startsWith("-") ? -1 : 1;
    if (!COLUMNS.some(([key]) => key === name)) return rows;
    const empty = (value) => value === null || value === undefined;
    return [...rows].sort((a, b) => {
      const x = a[name], y = b[name];
      if (empty(x) || empty(y)) return empty(x) - empty(y); // runs without a number stay last
      return sign * (typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y);
    });
  }

  function head() {
    const name = (state.get("sort") ?? "").replace(/^-/, ""), down = state.get("sort")?.startsWith("-");
    const cells = COLUMNS.map(([key, label]) => {
      const button = make("button", { type: "button" }, label);
      button.addEventListener("click", () => {
        set("sort", name === key && !down ? `-${key}` : key);
        drawRuns();
        all("thead button", table)[COLUMNS.findIndex(([other]) => other === key)].focus();
      });
      const order = name === key ? (down ? "descending" : "ascending") : "none";
      return make("th", { scope: "col", "aria-sort": order, class: TEXT.has(key) ? "text" : "" }, button);
    });
    return make("tr", {}, ...cells, make("th", { scope: "col" }, "compare"));
  }

  function rowOf(run) {
    const open = state.get("run") === run.id;
    const button = make("button", { type: "button", "aria-expanded": String(open) }, run.id);
    button.addEventListener("click", () => {
      set("run", open ? "" : run.id);
      drawRuns();
      all("tbody button", table).find((other) => other.textContent === run.id)?.focus();
    });
    const box = make("input", { type: "checkbox", "aria-label": `compare ${run.id}` });
    box.checked = list("compare").includes(run.id);
    box.addEventListener("change", () => {
      const others = list("compare").filter((id) => id !== run.id);
      set("compare", (box.checked ? [...others, run.id].slice(-2) : others).join(","));
      drawRuns();
    });
    const cells = COLUMNS.slice(1).map(([key, , text]) => make("td", { class: TEXT.has(key) ? "text" : "" }, text(run)));
    const row = make("tr", { "data-run": run.id }, make("th", { scope: "row", class: "text" }, button), ...cells, make("td", {}, box));
    return open ? [row, make("tr", { class: "fold" }, make("td", { colspan: COLUMNS.length + 1 }, fold(run)))] : [row];
  }

  function drawRuns() {
    const rows = sorted(chosenRuns());
    const shown = whole ? rows : rows.slice(0, FIRST);
    const open = byId.get(state.get("run"));
    if (open && rows.includes(open) && !shown.includes(open)) shown.unshift(open);
    table.tHead.replaceChildren(head());
    table.tBodies[0].replaceChildren(...shown.flatMap(rowOf));
    field("run-count").textContent = `${rows.length} of ${runs.length} runs match the filters.`;
    more.hidden = shown.length >= rows.length;
    more.textContent = `Show all ${rows.length} runs`;
    drawBeside();
  }
  more.addEventListener("click", () => { whole = true; drawRuns(); });

  function command(run) {
    return ["bench run", data.suite, ...run.plugins, `--filter id=${run.id}`, `--results ${data.results}`].join(" ");
  }

  function fold(run) {
    const head = ["evaluation at the end", "headline", "at the last position"];
    const scores = make("table", {},
      make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))),
      make("tbody", {}, ...run.evaluations.map(([value, error, last, lastError], place) => make("tr", {},
        make("th", { scope: "row", class: "text" }, run.evaluated[place]), make("td", {}, scored(value, error)), make("td", {}, scored(last, lastError))))));
    const repeat = make("pre", { tabindex: "0" }, command(run));
    return make("div", { class: "run-fold" },
      curves([run]),
      make("div", {}, make("h4", {}, "Evaluations, raw scores"), run.evaluations.length ? scores : make("p", {}, "None."),
        make("h4", {}, "Repeat this run"), repeat),
      make("div", {}, make("h4", {}, "Run"), definitions(facts(run).slice(3))),
      make("div", {}, make("h4", {}, "Settings"), definitions(run.settings)),
      make("div", {}, make("h4", {}, "Provenance"), definitions(run.provenance)));
  }

  // Loss and score against steps, a line per run.
  function curves(some) {
    const charts = [["training loss", "loss"], [`${some[0].score_label} on test prompts`, "scores"]];
    return make("div", { class: "curves" }, ...charts.map(([title, key]) => chart(title, some.map((run) => [run[`${key}_steps`], run[key]]))));
  }

  function chart(title, lines) {
    const values = lines.flatMap(([, y]) => y).filter(Number.isFinite), last = Math.max(1, ...lines.flatMap(([x]) => x));
    if (!values.length) return make("p", {}, `No ${title} is recorded.`);
    const low = Math.min(...values), high = Math.max(...values), log = low > 0 && high / low > 30;
    const height = (value) => log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low || 1);
    const place = (x, y) => `${(44 + 240 * x / last).toFixed(1)},${(126 - 108 * height(y)).toFixed(1)}`;
    const svg = make("svg", { viewBox: "0 0 300 150", role: "img", "aria-label": `${title} against training steps` },
      make("line", { x1: 44, x2: 284, y1: 126, y2: 126 }), make("line", { x1: 44, x2: 44, y1: 18, y2: 126 }),
      make("text", { x: 44, y: 11 }, title), make("text", { x: 40, y: 130, class: "end" }, number(low)),
      make("text", { x: 40, y: 22, class: "end" }, number(high)), make("text", { x: 44, y: 141 }, "0"),
      make("text", { x: 284, y: 141, class: "end" }, `${last.toLocaleString("en")} steps`));
    lines.forEach(([x, y], index) => {
      const points = x.map((step, at) => [step, y[at]]).filter(([, value]) => Number.isFinite(value) && (!log || value > 0));
      svg.append(make("polyline", { class: `line-${index}`, points: points.map(([a, b]) => place(a, b)).join(" ") }));
      if (points.length === 1) {
        const [cx, cy] = place(...points[0]).split(",");
        svg.append(make("circle", { class: `line-${index}`, cx, cy, r: 2.5 }));
      }
    });
    return svg;
  }

  function drawBeside() {
    const [a, b] = list("compare").map((id) => byId.get(id));
    beside.hidden = !a;
    if (!a) return;
    if (!b) {
      beside.replaceChildren(make("p", {}, `Run ${a.id} is chosen. Choose another one to see both side by side.`));
      return;
    }
    const everything = (run) => new Map([...facts(run), ...run.settings, ...run.provenance]);
    const left = everything(a), right = everything(b);
    const rows = [...new Set([...left.keys(), ...right.keys()])].map((label) => {
      const [x, y] = [left.get(label) ?? "–", right.get(label) ?? "–"];
      return make("tr", x === y ? {} : { class: "differs" }, make("th", { scope: "row", class: "text" }, label), make("td", {}, x), make("td", {}, y));
    });
    rows.sort((x, y) => (y.className === "differs") - (x.className === "differs"));
    beside.replaceChildren(make("h3", {}, "Side by side"), curves([a, b]),
      make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "two runs side by side" }, make("table", {},
        make("caption", {}, "Settings in which the runs differ come first, in bold."),
        make("thead", {}, make("tr", {}, make("th", { scope: "col", class: "text" }, "setting"),
          make("th", { scope: "col", class: "line-0" }, `${a.id} (solid line)`), make("th", { scope: "col", class: "line-1" }, `${b.id} (dashed line)`))),
        make("tbody", {}, ...rows))));
  }

  // --- filters ------------------------------------------------------------------------------------

  const controls = field("controls"), status = field("shown"), next = field("next-match");
  controls.hidden = false;
  field("run-list").hidden = false;
  const parts = all("[data-part]"), claims = all("[data-claim]");

  function fill() { // the controls, from the address
    const off = new Set(list("without"));
    for (const name of ["task", "state", "verdict"]) if (controls.elements[name]) controls.elements[name].value = state.get(name) ?? "";
    controls.elements.words.value = state.get("q") ?? "";
    for (const box of all("input[name=architecture]", controls)) box.checked = !off.has(box.value);
  }

  function fromControls() {
    for (const name of ["task", "state", "verdict"]) if (controls.elements[name]) set(name, controls.elements[name].value);
    set("q", controls.elements.words.value.trim());
    set("without", all("input[name=architecture]", controls).filter((box) => !box.checked).map((box) => box.value).join(","));
    refresh();
  }

  function refresh() {
    const task = state.get("task") ?? "", words = (state.get("q") ?? "").toLowerCase(), off = new Set(list("without"));
    const ofTask = (part) => !task || !part.dataset.tasks || JSON.parse(part.dataset.tasks).includes(task);
    for (const part of all("[data-architecture]")) part.classList.toggle("off", off.has(part.dataset.architecture));
    for (const panel of all("g[data-task]")) panel.classList.toggle("dim", task !== "" && panel.dataset.task !== task);
    for (const part of all("[data-tasks]:not([data-part], [data-claim])")) part.classList.toggle("off", !ofTask(part));
    let shownClaims = 0;
    for (const claim of claims) {
      const names = JSON.parse(claim.dataset.architectures);
      const kept = !names.length || names.some((name) => !off.has(name));
      const fits = !state.get("verdict") || claim.dataset.verdict === state.get("verdict");
      claim.classList.toggle("off", !(kept && fits && ofTask(claim) && (!words || claim.textContent.toLowerCase().includes(words))));
      shownClaims += !claim.classList.contains("off");
    }
    let shown = 0;
    for (const part of parts) {
      part.hidden = !(ofTask(part) && (words === "" || part.textContent.toLowerCase().includes(words)));
      shown += !part.hidden;
    }
    const idle = !task && !words && !off.size && !state.get("verdict");
    status.textContent = idle ? "" : `${shown} of ${parts.length} parts shown${claims.length ? `, ${shownClaims} of ${claims.length} claims` : ""}.`;
    whole = false;
    drawRuns();
    find(words);
  }

  controls.addEventListener("input", fromControls);
  controls.addEventListener("submit", (event) => { event.preventDefault(); toNext(); });
  controls.addEventListener("reset", (event) => {
    event.preventDefault();
    for (const key of ["task", "state", "verdict", "q", "without"]) state.delete(key);
    writeAddress();
    fill();
    refresh();
  });

  // --- search: matches are marked where they stand, and folds stay as they are ----------------------

  let found = [], at = -1;

  function find(words) {
    [found, at] = [[], -1];
    CSS.highlights?.delete("found");
    all("summary[data-matches]").forEach((summary) => delete summary.dataset.matches);
    next.hidden = true;
    if (!words) return;
    const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node.parentElement.closest("#controls, script, style, .off, [hidden]")) continue;
      const text = node.data.toLowerCase();
      for (let start = text.indexOf(words); start >= 0; start = text.indexOf(words, start + words.length)) {
        const range = new Range();
        range.setStart(node, start);
        range.setEnd(node, start + words.length);
        found.push(range);
      }
    }
    for (const range of found) {
      const closed = range.startContainer.parentElement.closest("details:not([open])");
      const summary = closed?.querySelector(":scope > summary");
      if (summary && !summary.contains(range.startContainer)) summary.dataset.matches = Number(summary.dataset.matches ?? 0) + 1;
    }
    if (globalThis.Highlight) CSS.highlights.set("found", new Highlight(...found));
    next.hidden = found.length === 0;
    next.textContent = `Next of ${found.length}`;
  }

  function toNext() {
    if (!found.length) return;
    at = (at + 1) % found.length;
    const element = found[at].startContainer.parentElement;
    reveal(element);
    next.textContent = `Next (${at + 1} of ${found.length})`;
  }
  next.addEventListener("click", toNext);

  // --- links --------------------------------------------------------------------------------------

  function reveal(element) { // and only the folds around it
    for (let node = element; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    element.scrollIntoView({ block: "nearest" });
  }

  function follow() {
    const target = anchor && document.getElementById(anchor);
    if (!target) return;
    reveal(target);
    target.scrollIntoView();
  }

  document.addEventListener("click", (event) => { // a link within the page keeps the filters
    const link = event.target.closest?.('a[href^="#"]');
    if (!link) return;
    event.preventDefault();
    anchor = decodeURIComponent(link.hash.slice(1));
    writeAddress();
    follow();
  });

  function arrive() {
    readAddress();
    fill();
    refresh();
    follow();
    if (!anchor && byId.has(state.get("run"))) table.querySelector(".fold")?.scrollIntoView();
  }
  addEventListener("hashchange", arrive);
  arrive();

  let closed = []; // paper has nothing to click on
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    closed.forEach((fold) => { fold.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((fold) => { fold.open = false; }));
})();
