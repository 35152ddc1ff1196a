"use strict";
const models = JSON.parse(document.getElementById("data").textContent);
const MOST_CELLS = 20000, AROUND = 6;
const minus = text => text.replace(/^-(0\.?0*)$/, "$1").replace("-", "−");
const share = (one, name, value) => one.style.setProperty(name, value);

function made(name, text, properties = {}) {
  const one = document.createElement(name);
  one.textContent = text;
  return Object.assign(one, properties);
}

// As many decimals as the largest number of a row needs for three significant digits, as in the other rows.
function decimals(values) {
  const largest = Math.max(...values.map(Math.abs));
  return largest ? Math.min(8, Math.max(0, 2 - Math.floor(Math.log10(largest)))) : 2;
}

// Grids: one cell of each is focusable; the arrow keys, Home and End move the focus. A cell shows its value and rank.
function startGrids(model, steps) {
  const readout = model.querySelector(".readout");
  function showCell(cell) {
    const row = cell.closest("tr"), place = cell.cellIndex - 1;
    if (!cell.dataset.value) { readout.value = `${row.cells[0].textContent}: no value at step ${place}, “${steps[place]}”`; return; }
    const values = [...row.cells].slice(1).map(one => Math.abs(Number(one.dataset.value || 0)));
    const rank = values.filter(value => value > values[place]).length + 1;
    readout.value = `${row.cells[0].textContent}: ${cell.textContent} at step ${place}, “${steps[place]}”; rank ${rank} of ${values.length}`;
  }
  for (const grid of model.querySelectorAll('[role="grid"]')) {
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
}

// The sentence in colour, with bars under its words.
function startSentence(model, bars) {
  const measure = model.querySelector(".measure"), choice = model.querySelector("select.bars");
  if (measure) measure.addEventListener("change", () => {
    for (const one of model.querySelectorAll(".sentence")) one.hidden = one.dataset.place !== measure.value;
  });
  if (!choice) return;
  const show = () => {
    const { name, values, largest } = bars[choice.value];
    for (const words of model.querySelectorAll(".sentence .words")) {
      [...words.querySelectorAll(".word")].forEach((word, t) => share(word, "--bar", values[t]));
    }
    model.querySelector(".bars-legend").textContent = `Bars: ${name}, the longest is ${largest}.`;
  };
  choice.addEventListener("change", show);
  choice.value = bars.length - 1;
  show();
}

// Which later words a word reaches, and which earlier ones reach it.
function startReach(model, steps, connections) {
  const box = model.querySelector(".reach");
  if (!box) return;
  const words = [...box.querySelectorAll(".word")], says = model.querySelector(".reach-says");
  const list = pairs => pairs.filter(([, value]) => value > 0).sort((a, b) => b[1] - a[1]).slice(0, 3)
    .map(([t, value]) => `“${steps[t]}” ${value.toPrecision(3)}`).join(", ") || "none";
  const choose = chosen => {
    const reached = steps.map((_, t) => [t, t === chosen ? 0 : connections[t][chosen]]);
    const reaching = steps.map((_, s) => [s, s === chosen ? 0 : connections[chosen][s]]);
    const [most, from] = [reached, reaching].map(pairs => Math.max(...pairs.map(([, value]) => value), 1e-300));
    words.forEach((word, t) => {
      const [a, b] = [reached[t][1] / most, reaching[t][1] / from];
      word.classList.toggle("chosen", t === chosen);
      word.classList.toggle("from", b > a);
      word.tabIndex = t === chosen ? 0 : -1;
      share(word, "--share", Math.max(a, b).toFixed(4));
      word.title = t === chosen ? "" : `reached ${reached[t][1].toPrecision(3)}, reaches ${reaching[t][1].toPrecision(3)}`;
    });
    says.value = `“${steps[chosen]}” (${chosen}) reaches: ${list(reached)}. It is reached by: ${list(reaching)}.`;
  };
  words.forEach((word, t) => {
    word.addEventListener("mouseenter", () => choose(t));
    word.addEventListener("focus", () => choose(t));
    word.addEventListener("keydown", event => {
      const to = { ArrowLeft: t - 1, ArrowRight: t + 1, Home: 0, End: words.length - 1 }[event.key];
      if (to === undefined || !words[to]) return;
      event.preventDefault();
      words[to].focus();
    });
  });
}

// Where in the test split a unit is highest and lowest.
function showPassages(box, passages, gate, unit) {
  const part = (title, places) => {
    const items = places.map(([example, step, value]) => {
      const tokens = passages.tokens[example], from = Math.max(0, step - AROUND);
      const item = made("li", `${minus(value.toFixed(3))}: ${from ? "… " : ""}${tokens.slice(from, step).join(" ")} `);
      item.append(made("strong", tokens[step]),
        ` ${tokens.slice(step + 1, step + 1 + AROUND).join(" ")}${tokens.length > step + 1 + AROUND ? " …" : ""} (test ${example})`);
      return item;
    });
    const items_list = document.createElement("ol");
    items_list.append(...items);
    return [made("h3", title), items_list];
  };
  box.replaceChildren(
    ...part(`Where ${gate} of unit ${unit} is highest, in ${passages.searched} test examples`, passages.highest[gate][unit]),
    ...part("Where it is lowest", passages.lowest[gate][unit]));
}

// Hidden units: a heat map, and one of them as a chart, as a row of the grid and in passages of the test split.
async function startUnits(model, data) {
  const { steps, units, most_variable, unit_chart, passages } = data;
  const [gate, unit, row, heat] = [".gate", ".unit", ".unit-row", ".heat"].map(name => model.querySelector(name));
  const range = values => Math.max(...values) - Math.min(...values);
  let view = null, sorted = { by: -1, down: true };

  const selected = () => Math.min(Math.max(0, Number(unit.value) || 0), units[gate.value].length - 1);
  async function showUnit() {
    const rows = units[gate.value];
    unit.max = rows.length - 1;
    const at = selected(), values = rows[at], largest = Math.max(...values.map(Math.abs), 1);
    const places = decimals(values);
    row.cells[0].textContent = `${gate.value} of unit ${at}`;
    values.forEach((value, t) => {
      const cell = row.cells[t + 1];
      cell.textContent = minus(value.toFixed(places));
      cell.dataset.value = value;
      cell.classList.toggle("minus", value < 0);
      share(cell, "--share", Math.abs(value) / largest);
    });
    for (const one of heat.tBodies[0].rows) {
      const chosen = Number(one.dataset.unit) === at;
      one.classList.toggle("chosen", chosen);
      one.querySelector("button").setAttribute("aria-pressed", chosen);
    }
    if (passages) showPassages(model.querySelector(".passages"), passages, gate.value, at);
    if (view) await view.data("unit", values.map((value, t) => ({ place: t, step: steps[t], value }))).runAsync();
    row.dataset.shown = `${gate.value} ${at}`;
  }

  // Columns: -2 the unit, -1 its range, 0 … its value at a step.
  const key = (rows, at, by) => by === -2 ? at : by === -1 ? range(rows[at]) : rows[at][by];
  function showHeat() {
    const rows = units[gate.value], largest = Math.max(1, ...rows.flat().map(Math.abs));
    const most = Math.max(1, Math.floor(MOST_CELLS / steps.length));
    const kept = rows.map((_, at) => at).sort((a, b) => range(rows[b]) - range(rows[a])).slice(0, most);
    kept.sort((a, b) => (key(rows, a, sorted.by) - key(rows, b, sorted.by)) * (sorted.down ? -1 : 1) || a - b);
    const top = document.createElement("tr");
    top.append(...["unit", "range", ...steps].map((text, place) => {
      const head = made("th", "", { scope: "col" }), button = made("button", text, { type: "button" });
      if (place - 2 === sorted.by) head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      button.addEventListener("click", () => {
        sorted = { by: place - 2, down: sorted.by === place - 2 ? !sorted.down : place > 0 };
        showHeat();
        heat.tHead.rows[0].cells[place].querySelector("button").focus();
      });
      head.append(button);
      return head;
    }));
    heat.tHead.replaceChildren(top);
    heat.tBodies[0].replaceChildren(...kept.map(at => {
      const line = document.createElement("tr"), head = made("th", "", { scope: "row" });
      const button = made("button", String(at), { type: "button", ariaLabel: `unit ${at}` });
      button.addEventListener("click", () => { unit.value = at; showUnit(); });
      head.append(button);
      line.dataset.unit = at;
      line.append(head, made("td", range(rows[at]).toFixed(2)), ...rows[at].map(value => {
        const cell = made("td", minus(value.toFixed(2)), { className: value < 0 ? "minus" : "" });
        share(cell, "--share", (Math.abs(value) / largest).toFixed(3));
        return cell;
      }));
      share(line.cells[1], "--share", 0);
      return line;
    }));
    if (kept.length < rows.length) {
      model.querySelector(".heat-says").textContent = `The ${kept.length} most variable of ${rows.length} units at every step. `
        + "The buttons at the top sort; a click on a unit selects it.";
    }
    for (const one of heat.tBodies[0].rows) one.classList.toggle("chosen", Number(one.dataset.unit) === selected());
  }

  const variable = () => { unit.value = most_variable[gate.value]; };
  gate.addEventListener("change", () => { variable(); showHeat(); showUnit(); });
  unit.addEventListener("input", showUnit);
  model.querySelector(".most-variable").addEventListener("click", () => { variable(); showUnit(); });
  variable();
  showHeat();
  const options = { actions: false, renderer: "svg" };
  view = (await vegaEmbed(model.querySelector(".unit-chart"), unit_chart, options)).view;
  await showUnit();
  if (data.feature_chart) await vegaEmbed(model.querySelector(".features"), data.feature_chart, options);
}

(async () => {
  for (const model of document.querySelectorAll(".model")) {
    const data = models[model.dataset.model];
    startGrids(model, data.steps);
    startSentence(model, data.bars);
    startReach(model, data.steps, data.connections);
    await startUnits(model, data);
  }
  document.body.dataset.drawn = "yes";
})();
