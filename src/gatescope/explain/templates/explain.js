"use strict";
const { steps, units, most_variable, unit_chart, feature_chart } = JSON.parse(document.getElementById("data").textContent);
const readout = document.getElementById("readout");

// Show the value of a cell and its rank in the row.
function showCell(cell) {
  const row = cell.closest("tr"), place = cell.cellIndex - 1;
  if (!cell.dataset.value) { readout.value = `${row.cells[0].textContent}: no value at step ${place}, “${steps[place]}”`; return; }
  const values = [...row.cells].slice(1).map(one => Math.abs(Number(one.dataset.value || 0)));
  const rank = values.filter(value => value > values[place]).length + 1;
  readout.value = `${row.cells[0].textContent}: ${cell.textContent} at step ${place}, “${steps[place]}”; rank ${rank} of ${values.length}`;
}

// One cell of each grid is focusable; the arrow keys, Home and End move the focus.
for (const grid of document.querySelectorAll('[role="grid"]')) {
  const body = grid.tBodies[0];
  const move = cell => {
    for (const old of body.querySelectorAll('td[tabindex="0"]')) old.tabIndex = -1;
    cell.tabIndex = 0;
  };
  move(body.rows[0].cells[1]);
  grid.addEventListener("keydown", event => {
    const cell = event.target.closest("td");
    if (!cell) return;
    const row = cell.parentElement, last = row.cells.length - 1, at = row.sectionRowIndex;
    const places = {
      ArrowLeft: [at, Math.max(1, cell.cellIndex - 1)], ArrowRight: [at, Math.min(last, cell.cellIndex + 1)],
      ArrowUp: [Math.max(0, at - 1), cell.cellIndex], ArrowDown: [Math.min(body.rows.length - 1, at + 1), cell.cellIndex],
      Home: [at, 1], End: [at, last],
    };
    if (!(event.key in places)) return;
    event.preventDefault();
    const [y, x] = places[event.key];
    move(body.rows[y].cells[x]);
    body.rows[y].cells[x].focus();
  });
  grid.addEventListener("focusin", event => { if (event.target.matches("td")) { move(event.target); showCell(event.target); } });
  let pointer = "";
  grid.addEventListener("mouseover", event => {
    // Ignore a cell that is scrolled under a pointer at rest.
    const previous = pointer;
    pointer = `${event.clientX} ${event.clientY}`;
    if (event.target.matches("td") && pointer !== previous) showCell(event.target);
  });
}

const gate = document.getElementById("gate"), unit = document.getElementById("unit");
const row = document.getElementById("unit-row");
let view = null;

// As many decimals as the largest number of a row needs for three significant digits, as in the other rows.
function decimals(values) {
  const largest = Math.max(...values.map(Math.abs));
  return largest ? Math.min(8, Math.max(0, 2 - Math.floor(Math.log10(largest)))) : 2;
}

async function showUnit() {
  const rows = units[gate.value];
  unit.max = rows.length - 1;
  const selected = Math.min(Math.max(0, Number(unit.value) || 0), rows.length - 1);
  const values = rows[selected], largest = Math.max(...values.map(Math.abs), 1);
  const places = decimals(values);
  row.cells[0].textContent = `${gate.value} of unit ${selected}`;
  values.forEach((value, t) => {
    const cell = row.cells[t + 1];
    cell.textContent = value.toFixed(places).replace(/^-(0\.?0*)$/, "$1").replace("-", "−");
    cell.dataset.value = value;
    cell.classList.toggle("minus", value < 0);
    cell.style.setProperty("--share", Math.abs(value) / largest);
  });
  if (view) await view.data("unit", values.map((value, t) => ({ place: t, step: steps[t], value }))).runAsync();
  row.dataset.shown = `${gate.value} ${selected}`;
}

const measure = document.getElementById("measure");
if (measure) measure.addEventListener("change", () => {
  for (const one of document.querySelectorAll(".sentence")) one.hidden = one.id !== measure.value;
});
gate.addEventListener("change", () => { unit.value = most_variable[gate.value]; showUnit(); });
unit.addEventListener("input", showUnit);
document.getElementById("most-variable").addEventListener("click", () => { unit.value = most_variable[gate.value]; showUnit(); });

(async () => {
  const options = { actions: false, renderer: "svg" };
  unit.value = most_variable[gate.value];
  view = (await vegaEmbed("#unit-chart", unit_chart, options)).view;
  await showUnit();
  if (feature_chart) await vegaEmbed("#features", feature_chart, options);
  document.body.dataset.drawn = "yes";
})();
