"use strict";

function keyOf(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.v ?? cell.textContent.trim();
  if (text === "" || text === "–") return null;
  // as Python spells it in data-v
  const number = text === "inf" ? Infinity : Number(text);
  return Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (typeof a === typeof b) return typeof a === "number" ? (a < b ? -1 : Number(a > b)) : a.localeCompare(b, "en");
  return typeof a === "number" ? -1 : 1; // numbers before names
}

function sort(head) {
  const table = head.closest("table");
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

for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => sort(button.closest("th")));
}

for (const button of document.querySelectorAll("button.all")) {
  const table = button.parentElement.querySelector("table");
  const text = button.textContent;
  const toggle = (short) => {
    table.classList.toggle("short", short);
    button.textContent = short ? text : `Show the first ${button.dataset.shown}`;
    button.setAttribute("aria-expanded", String(!short));
  };
  // hidden in the file: without scripts all rows are shown, and the button would do nothing
  button.hidden = false;
  button.addEventListener("click", () => toggle(!table.classList.contains("short")));
  toggle(true);
}
