"use strict";

const { columns, ...told } = JSON.parse(document.getElementById("data").textContent);
const names = Object.keys(columns);
const valueOf = ({ of, at }, row) => of[Array.isArray(at) ? at[row] : 0];
const runs = Array.from({ length: told.n }, (_, row) => Object.fromEntries(
  names.map((name) => [name, columns[name].of ? valueOf(columns[name], row) : columns[name][row]])));
const byJob = new Map(runs.map((run) => [run.j, run]));
const views = []; // of the figures that are drawn, with their elements
const brushes = new Map(); // dimension → the chosen part of its axis, from 0 to 1
const off = { c: new Set(), state: new Set() }; // choices and states that the key has turned off
const dark = window.matchMedia("(prefers-color-scheme: dark)");

// Which runs are chosen.

function placeOf(run, { key, choices, log, low, high }) { // as _placed in sweep_charts.py
  const value = run[key];
  if (value === null || value === undefined) return null;
  if (choices) return choices.indexOf(value) / Math.max(choices.length - 1, 1);
  const at = ((log ? Math.log10(Math.max(value, 1e-300)) : value) - low) / (high - low || 1);
  return Math.min(1, Math.max(0, at));
}

function isChosen(run) {
  if (off.c.has(run.c) || off.state.has(run.state)) return false;
  for (const [at, [low, high]] of brushes) {
    const place = placeOf(run, told.dimensions[at]);
    if (place === null || place < low || place > high) return false;
  }
  return true;
}

function choose() {
  const isAll = brushes.size + off.c.size + off.state.size === 0;
  const chosen = isAll ? null : { runs: {}, settings: {} };
  const kept = isAll ? runs : runs.filter(isChosen);
  if (chosen) for (const run of kept) chosen.runs[run.j] = chosen.settings[run.s] = 1;
  const drawn = Array.from(brushes, ([at, [low, high]]) => ({ axis: `d${at}`, low, high }));
  for (const { view, spec } of views) {
    if (spec.includes('"brushes"')) view.data("brushes", drawn);
    view.signal("chosen", chosen).runAsync();
  }
  for (const row of document.querySelectorAll("tr[data-s], tr[data-j]")) {
    const { s, j } = row.dataset;
    row.hidden = chosen !== null && !(s === undefined ? chosen.runs[j] : chosen.settings[s]);
  }
  for (const row of document.querySelectorAll("tr.more")) row.hidden = row.previousElementSibling.hidden;
  const key = document.getElementById("key");
  key.querySelector("output").textContent = isAll ? `${runs.length} runs` : `${kept.length} of ${runs.length} runs`;
  key.querySelector(".clear").hidden = isAll;
  for (const button of key.querySelectorAll("[aria-pressed]")) {
    button.setAttribute("aria-pressed", String(!off[button.dataset.of].has(button.value)));
  }
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function makeKey() {
  const key = document.getElementById("key");
  const entry = (of, value, path, colour) => {
    const button = element("button", { type: "button", value, title: "click to hide or show; double-click for this alone" });
    button.dataset.of = of;
    button.setAttribute("aria-pressed", "true");
    button.innerHTML = '<svg viewBox="-1.2 -1.2 2.4 2.4" aria-hidden="true"><path/></svg>';
    button.querySelector("path").setAttribute("d", path);
    if (colour) button.style.setProperty("--colour", dark.matches ? (told.dark[colour] ?? colour) : colour);
    button.append(value || "–");
    button.addEventListener("click", () => {
      if (!off[of].delete(value)) off[of].add(value);
      choose();
    });
    button.addEventListener("dblclick", () => {
      off[of].clear();
      for (const other of key.querySelectorAll(`[data-of="${of}"]`)) if (other.value !== value) off[of].add(other.value);
      choose();
    });
    return button;
  };
  const circle = "M-1,0A1,1,0,1,1,1,0A1,1,0,1,1,-1,0Z";
  const colours = Object.entries(told.palette);
  const marks = Object.entries(told.marks);
  const clear = element("button", { type: "button", className: "clear", textContent: "show all" });
  clear.addEventListener("click", () => {
    for (const part of [brushes, off.c, off.state]) part.clear();
    choose();
  });
  key.replaceChildren(
    ...(colours.length > 1 ? [element("span", { textContent: told.choice }), ...colours.map(([name, colour]) => entry("c", name, circle, colour))] : []),
    ...(marks.length > 1 ? [element("span", { textContent: "runs" }), ...marks.map(([name, path]) => entry("state", name, path))] : []),
    element("output", {}),
    clear,
  );
  key.hidden = runs.length < 2;
}

// The figures.

const shown = (value) => (typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value));

const given = (run) => told.parameters.filter(([key]) => run[key] !== undefined && run[key] !== null).map(([key, name]) => [name, run[key]]);
const settingOf = (s) => given(runs.find((run) => run.s === s) ?? {}).filter(([name]) => !told.seeds.includes(name));

function valuesOf(run) {
  const lines = [["job", `${run.j}, ${run.state}`], [told.objective, run.y ?? "none"], ...given(run)];
  if (run.b !== undefined && run.b !== null) lines.push([told.unit, run.b - run.a]);
  return lines;
}

function showTip(handler, event, item, value) {
  const tip = document.getElementById("tip");
  tip.hidden = value === null || value === undefined || value === "";
  if (tip.hidden) return;
  // A tooltip of nothing but a job is one of a single run.
  const entries = Object.entries(value);
  const run = entries.length === 1 && entries[0][0] === "job" ? byJob.get(item.datum.j) : undefined;
  const lines = run ? valuesOf(run) : entries.flatMap(([name, text]) => (name === "setting" ? settingOf(Number(text)) : [[name, text]]));
  tip.replaceChildren(...lines.map(([name, text]) => element("div", {}, element("b", { textContent: name }), shown(text))));
  const { clientX: x, clientY: y } = event;
  tip.style.left = `${Math.max(4, x + 14 + tip.offsetWidth > window.innerWidth ? x - 14 - tip.offsetWidth : x + 14)}px`;
  tip.style.top = `${Math.max(4, y + 14 + tip.offsetHeight > window.innerHeight ? y - 14 - tip.offsetHeight : y + 14)}px`;
}

function rowsFor(text) {
  const used = names.filter((name) => text.includes(`"${name}"`) || text.includes(`datum.${name}`));
  return runs.map((run) => Object.fromEntries(used.map((name) => [name, run[name]])));
}

async function draw(place) {
  let text = JSON.stringify(told.charts[Number(place.dataset.chart)]);
  text = text.replace(/"legend":\{"symbol[^}]*\}/g, '"legend":null'); // there is one for all figures
  if (dark.matches) text = text.replace(/#[0-9a-f]{6}/g, (colour) => told.dark[colour] ?? colour);
  const spec = JSON.parse(text);
  const own = Object.values(spec.datasets ?? {}).reduce((sum, rows) => sum + rows.length, 0);
  const isShared = text.includes('"name":"runs"');
  spec.datasets = { ...spec.datasets, brushes: [], ...(isShared ? { runs: rowsFor(text) } : {}) };
  Object.assign(spec, { description: place.getAttribute("aria-label"), width: "container", autosize: { type: "fit-x", contains: "padding" } });
  spec.config.legend.disable = true;
  const renderer = own + (isShared ? runs.length : 0) > 1500 ? "canvas" : "svg";
  // Expressions are interpreted, not compiled: the page forbids code that is made of text.
  const { view } = await vegaEmbed(place, spec, { actions: false, ast: true, renderer, tooltip: showTip, defaultStyle: false });
  views.push({ view, spec: text, place });
  if (text.includes('"brushes"')) brushing(place, view);
}

async function drawAll() {
  for (const { view } of views.splice(0)) view.finalize();
  document.body.classList.toggle("dark", dark.matches);
  makeKey();
  for (const place of document.querySelectorAll(".chart")) {
    await draw(place);
    // Else nothing could be read before thousands of marks are drawn.
    if (runs.length > 1500) await new Promise((resolve) => { setTimeout(resolve); });
  }
  choose();
  document.body.dataset.drawn = views.length;
}

function brushing(place, view) {
  let begun = null;
  const at = (event) => {
    const box = place.getBoundingClientRect();
    const [left, top] = view.origin();
    const share = 1 - (event.clientY - box.top - top) / view.height();
    const across = told.dimensions.map((_, index) => Math.abs(view.scale("x")(`d${index}`) + left - (event.clientX - box.left)));
    return { axis: across.indexOf(Math.min(...across)), share: Math.min(1.01, Math.max(-0.01, share)) };
  };
  place.onpointerdown = (event) => {
    begun = at(event);
    place.setPointerCapture(event.pointerId);
  };
  place.onpointermove = (event) => {
    if (begun === null) return;
    const { share } = at(event);
    if (Math.abs(share - begun.share) > 0.01) brushes.set(begun.axis, [Math.min(share, begun.share), Math.max(share, begun.share)]);
    if (runs.length <= 1500) choose(); // more are chosen at the end, as that takes a while
  };
  place.onpointerup = (event) => {
    if (begun !== null && Math.abs(at(event).share - begun.share) <= 0.01) brushes.delete(begun.axis); // a click
    begun = null;
    choose();
  };
  place.onpointercancel = place.onpointerup;
}

// The tables.

function keyOf(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.v ?? cell.textContent.trim();
  if (text === "" || text === "–") return null;
  // as Python spells it in data-v
  const number = text === "inf" ? Infinity : Number(text.split(" ")[0]);
  return Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (typeof a === typeof b) return typeof a === "number" ? (a < b ? -1 : Number(a > b)) : a.localeCompare(b, "en");
  return typeof a === "number" ? -1 : 1; // numbers before names
}

function sort(head) {
  const table = head.closest("table");
  for (const row of table.querySelectorAll("tr.more")) row.remove();
  const ascending = head.getAttribute("aria-sort") !== "ascending";
  const column = head.cellIndex;
  const rows = Array.from(table.tBodies[0].rows, (row) => [keyOf(row, column), row]);
  const known = rows.filter(([key]) => key !== null);
  known.sort(([a], [b]) => (ascending ? compare(a, b) : compare(b, a)));
  const unknown = rows.filter(([key]) => key === null); // last, whichever the direction
  table.tBodies[0].append(...[...known, ...unknown].map(([, row]) => row));
  for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    getSelection().selectAllChildren(button.previousElementSibling);
    document.execCommand("copy");
  }
  button.textContent = "copied";
}

function unfold(cell) {
  const row = cell.parentElement;
  const command = cell.dataset.c.replace(/[\ue000-\uf8ff]/g, (letter) => letter === "\uf8ff" ? "python train.py " : `${told.parameters[letter.charCodeAt(0) - 0xe000][1]}=`);
  if (row.nextElementSibling?.className === "more") return row.nextElementSibling.remove();
  const differing = settingOf(Number(row.dataset.s)).map(([name, value]) => `${name}=${value}`);
  const button = element("button", { type: "button", textContent: "copy" });
  button.addEventListener("click", () => copy(command, button));
  const inside = element("td", { colSpan: row.cells.length }, element("div", {},
    element("p", {}, "Differs in ", element("code", { textContent: differing.join("  ") || "nothing" })),
    ...(told.shared.length ? [element("p", {}, "Like all runs, ", element("code", { textContent: told.shared.join("  ") }))] : []),
    element("pre", {}, element("code", { textContent: command })), button));
  row.after(element("tr", { className: "more" }, inside));
  return undefined;
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells);
  for (const row of table.tBodies[0].rows) {
    heads.forEach((head, at) => { if (head.className) row.cells[at].className += ` ${head.className}`; });
    row.querySelector("[data-c]")?.append(element("button", { type: "button", textContent: "show" }));
  }
  table.addEventListener("click", ({ target }) => {
    if (target.closest("thead button")) sort(target.closest("th"));
    else if (target.matches("td[data-c] > button")) unfold(target.parentElement);
  });
}

dark.addEventListener("change", drawAll);
if (window.vegaEmbed) drawAll();
