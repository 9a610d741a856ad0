"use strict";

const { columns, ...told } = JSON.parse(document.getElementById("data").textContent);
const names = Object.keys(columns);
const valueOf = (column, row) => (column.of ? column.of[Array.isArray(column.at) ? column.at[row] : 0] : column[row]);
const runs = Array.from({ length: told.n }, (_, row) => Object.fromEntries(
  names.map((name) => [name, valueOf(columns[name], row)])));
const marked = runs.filter((run) => run.kept); // those that have a mark of their own
const byJob = new Map(runs.map((run) => [run.j, run]));
const isMany = runs.length > 1500;
const views = []; // of the figures that are drawn, with their elements
const brushes = new Map(); // dimension → the chosen part of its axis
const off = { c: new Set(), state: new Set() }; // choices and states that the key has turned off
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// Which runs are chosen.

const isChosen = (run) => !off.c.has(run.c) && !off.state.has(run.state)
  && Array.from(brushes).every(([axis, [low, high]]) => run[axis] !== null && run[axis] >= low && run[axis] <= high);

function choose() {
  const isAll = brushes.size + off.c.size + off.state.size === 0;
  const kept = isAll ? runs : runs.filter(isChosen);
  const chosen = isAll ? null : { runs: {}, settings: {} };
  if (chosen) for (const run of kept) chosen.runs[run.j] = chosen.settings[run.s] = 1;
  const drawn = Array.from(brushes, ([axis, [low, high]]) => ({ axis, low, high }));
  for (const { view, spec } of views) {
    if (spec.includes('"brushes"')) view.data("brushes", drawn);
    view.signal("chosen", chosen).runAsync();
  }
  for (const row of document.querySelectorAll("tr[data-s], tr[data-j]")) {
    const { s, j } = row.dataset;
    row.hidden = chosen !== null && !(s === undefined ? chosen.runs[j] : chosen.settings[s]);
    if (row.nextElementSibling?.className === "more") row.nextElementSibling.hidden = row.hidden;
  }
  const key = document.getElementById("key");
  key.querySelector("output").textContent = isAll ? `${runs.length} runs` : `${kept.length} of ${runs.length} runs`;
  key.querySelector(".clear").hidden = isAll;
  for (const button of key.querySelectorAll("[data-of]")) {
    button.setAttribute("aria-pressed", !off[button.dataset.of].has(button.value));
  }
}

function makeKey() {
  const entries = (of, title, marks) => marks.map(([value, path, colour]) => {
    const button = element("button", {
      type: "button", value, title: "click to hide or show; double-click for this alone", "data-of": of,
      style: `--colour: ${dark.matches ? (told.dark[colour] ?? colour) : colour}`,
      click: () => {
        if (!off[of].delete(value)) off[of].add(value);
        choose();
      },
      dblclick: () => {
        off[of] = new Set(marks.map(([other]) => other).filter((other) => other !== value));
        choose();
      },
    });
    button.innerHTML = '<svg viewBox="-1.2 -1.2 2.4 2.4" aria-hidden="true"><path/></svg>';
    button.querySelector("path").setAttribute("d", path);
    button.append(value || "–");
    return button;
  });
  const clear = () => {
    for (const part of [brushes, off.c, off.state]) part.clear();
    choose();
  };
  const circle = "M-1,0A1,1,0,1,1,1,0A1,1,0,1,1,-1,0Z";
  const colours = Object.entries(told.palette).map(([name, colour]) => [name, circle, colour]);
  const marks = Object.entries(told.marks).map(([state, path]) => [state, path, "var(--muted)"]);
  const groups = [["c", told.choice, colours], ["state", "runs", marks]].filter(([, , those]) => those.length > 1);
  document.getElementById("key").replaceChildren(
    ...groups.flatMap(([of, title, those]) => [element("span", {}, title), ...entries(of, title, those)]),
    element("output", {}),
    element("button", { type: "button", class: "clear", click: clear }, "show all"),
  );
  document.getElementById("key").hidden = runs.length < 2;
}

// The figures.

const shown = (value) => (typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value));
const isKnown = (value) => value !== undefined && value !== null;
const given = (run) => told.parameters.map(([key, name]) => [name, run[key]]).filter(([, value]) => isKnown(value));
const settingOf = (s) => given(runs.find((run) => run.s === s) ?? {}).filter(([name]) => !told.seeds.includes(name));

function valuesOf(run) {
  const lines = [["job", `${run.j}, ${run.state}`], [told.objective, run.y ?? "none"], ...given(run)];
  return isKnown(run.b) ? [...lines, [told.unit, run.b - run.a]] : lines;
}

function showTip(handler, event, item, value) {
  const tip = document.getElementById("tip");
  tip.hidden = !isKnown(value) || value === "";
  if (tip.hidden) return;
  // A tooltip of nothing but a job is one of a single run.
  const entries = Object.entries(value);
  const run = entries.length === 1 && entries[0][0] === "job" ? byJob.get(item.datum.j) : undefined;
  const lines = entries.flatMap(([name, text]) => (name === "setting" ? settingOf(Number(text)) : [[name, text]]));
  const line = ([name, text]) => element("div", {}, element("b", {}, name), shown(text));
  tip.replaceChildren(...(run ? valuesOf(run) : lines).map(line));
  // On the other side of the pointer where there is no room.
  const beside = (at, size, room) => `${Math.max(4, at + 14 + size > room ? at - 14 - size : at + 14)}px`;
  tip.style.left = beside(event.clientX, tip.offsetWidth, window.innerWidth);
  tip.style.top = beside(event.clientY, tip.offsetHeight, window.innerHeight);
}

async function draw(place) {
  let text = JSON.stringify(told.charts[Number(place.dataset.chart)]);
  text = text.replace(/"legend":\{"symbol[^}]*\}/g, '"legend":null'); // there is one for all figures
  if (dark.matches) text = text.replace(/#[0-9a-f]{6}/g, (colour) => told.dark[colour] ?? colour);
  const spec = JSON.parse(text);
  const used = names.filter((name) => text.includes(`"${name}"`) || text.includes(`datum.${name}`));
  const rowsOf = ([name, rows]) => [name, text.includes(`{"name":"${name}"}`) ? rows.map((row) => Object.fromEntries(used.map((key) => [key, row[key]]))) : []];
  spec.datasets = { ...spec.datasets, brushes: [], ...Object.fromEntries(Object.entries({ runs, marked }).map(rowsOf)) };
  const n = Object.values(spec.datasets).reduce((sum, rows) => sum + rows.length, 0);
  Object.assign(spec, { description: place.getAttribute("aria-label"), width: "container", autosize: { type: "fit-x", contains: "padding" } });
  spec.config.legend.disable = true;
  // Expressions are interpreted, not compiled: the page forbids code that is made of text.
  const options = { actions: false, ast: true, renderer: n > 1500 ? "canvas" : "svg", tooltip: showTip, defaultStyle: false };
  const { view } = await vegaEmbed(place, spec, options);
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
    if (isMany) await new Promise((resolve) => { setTimeout(resolve); });
  }
  choose();
  document.body.dataset.drawn = views.length;
}

function brushing(place, view) {
  let begun = null;
  const at = (event) => {
    const box = place.getBoundingClientRect();
    const [left, top] = view.origin();
    const along = view.scale("y"), end = along.domain()[1], share = along.invert(event.clientY - box.top - top) / end;
    const scale = view.scale("x");
    const across = scale.domain().map((axis) => Math.abs(scale(axis) + left - (event.clientX - box.left)));
    return { axis: scale.domain()[across.indexOf(Math.min(...across))], share: Math.min(1.01, Math.max(-0.01, share)), end };
  };
  const isMoved = (share) => Math.abs(share - begun.share) > 0.01; // else it is a click
  place.onpointerdown = (event) => {
    begun = at(event);
    place.setPointerCapture(event.pointerId);
  };
  place.onpointermove = (event) => {
    if (begun === null) return;
    const { share, end } = at(event);
    const both = [share * end, begun.share * end];
    if (isMoved(share)) brushes.set(begun.axis, [Math.min(...both), Math.max(...both)]);
    if (!isMany) choose(); // more are chosen at the end, as that takes a while
  };
  place.onpointerup = place.onpointercancel = (event) => {
    if (begun !== null && !isMoved(at(event).share)) brushes.delete(begun.axis);
    begun = null;
    choose();
  };
}

// The tables.

function keyOf(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.v ?? cell.textContent.trim();
  const number = text === "∞" ? Infinity : Number(text.split(" ")[0].replaceAll(",", "")); // "1,200 of 1,300" is 1200
  return text === "" || text === "–" ? null : Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (typeof a === typeof b) return typeof a === "number" ? (a < b ? -1 : Number(a > b)) : a.localeCompare(b, "en");
  return typeof a === "number" ? -1 : 1; // numbers before names
}

function sort(head) {
  const table = head.closest("table");
  for (const row of table.querySelectorAll("tr.more")) row.remove();
  const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const rows = Array.from(table.tBodies[0].rows, (row) => [keyOf(row, head.cellIndex), row]);
  // What has no value is last, whichever the direction.
  rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
  table.tBodies[0].append(...rows.map(([, row]) => row));
  for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
}

async function copy({ target }) {
  const command = target.previousElementSibling;
  try {
    await navigator.clipboard.writeText(command.textContent);
  } catch {
    getSelection().selectAllChildren(command);
    document.execCommand("copy");
  }
  target.textContent = "copied";
}

function unfold(cell) {
  const row = cell.parentElement;
  if (row.nextElementSibling?.className === "more") {
    row.nextElementSibling.remove();
    return;
  }
  const word = (letter) => (letter === "\uf8ff" ? "python train.py " : `${told.parameters[letter.charCodeAt(0) - 0xe000][1]}=`);
  const differing = settingOf(Number(row.dataset.s)).map(([name, value]) => `${name}=${value}`);
  const code = (text) => element("code", {}, text);
  row.after(element("tr", { class: "more" }, element("td", { colspan: row.cells.length }, element("div", {},
    element("p", {}, "Differs in ", code(differing.join("  ") || "nothing")),
    ...(told.shared.length ? [element("p", {}, "Like all runs, ", code(told.shared.join("  ")))] : []),
    element("pre", {}, code(cell.dataset.c.replace(/[\ue000-\uf8ff]/g, word))),
    element("button", { type: "button", click: copy }, "copy")))));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells);
  for (const row of table.tBodies[0].rows) {
    heads.forEach((head, at) => { if (head.className) row.cells[at].className += ` ${head.className}`; });
    row.querySelector("[data-c]")?.append(element("button", { type: "button" }, "show"));
  }
  table.addEventListener("click", ({ target }) => {
    if (target.closest("thead button")) sort(target.closest("th"));
    else if (target.matches("td[data-c] > button")) unfold(target.parentElement);
  });
}

dark.addEventListener("change", drawAll);
if (window.vegaEmbed) drawAll();
