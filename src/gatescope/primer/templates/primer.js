"use strict";
const { sentences, labels, levels, fading, names, words, charts } = JSON.parse(document.getElementById("data").textContent);
const options = { actions: false, renderer: "svg" };
const RAISED = Object.fromEntries([..."0123456789-+"].map((one, at) => [one, [..."⁰¹²³⁴⁵⁶⁷⁸⁹⁻", ""][at]]));
const say = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const minus = text => text.replace("-", "−");
const highest = values => values.indexOf(Math.max(...values));
const lowest = values => values.indexOf(Math.min(...values));

// Three significant digits; powers of ten for what is very small.
function short(value) {
  if (value === null) return "0";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-3 || size >= 1e5) {
    const [digits, power] = value.toExponential(1).split("e");
    return `${minus(digits)} · 10${[...power].map(one => RAISED[one]).join("")}`;
  }
  return minus(String(Number(value.toPrecision(3))));
}

function numbered(list) { return list.map((word, t) => `${t + 1} ${word}`); }

// Fill a table: the words in the head, then a row for each measure.
function fill(table, head, rows) {
  const cell = (name, text, scope) => {
    const made = document.createElement(name);
    made.textContent = text;
    if (scope) made.scope = scope;
    return made;
  };
  const top = document.createElement("tr");
  top.append(...head.map(text => cell("th", text, "col")));
  table.tHead.replaceChildren(top);
  table.tBodies[0].replaceChildren(...rows.map(({ name, values, texts }) => {
    const row = document.createElement("tr");
    const largest = Math.max(...values.map(value => Math.abs(value ?? 0)), 1e-300);
    row.append(cell("th", name, "row"), ...values.map((value, t) => {
      const one = cell("td", texts ? texts[t] : short(value));
      if (!texts) {
        one.className = value < 0 ? "cell minus" : "cell";
        one.style.setProperty("--share", Math.abs(value ?? 0) / largest);
      }
      return one;
    }));
    return row;
  }));
}

const starts = {
  // One unit's gates at each word.
  async gates(box, w, kind) {
    const [sentence, unit, output] = [".sentence-choice", ".unit", ".says"].map(name => box.querySelector(name));
    const { view } = await vegaEmbed(box.querySelector(".chart"), charts[kind].gates, options);
    const variable = () => {
      const rows = sentences[sentence.value].units.state;
      unit.value = highest(rows.map(row => Math.max(...row) - Math.min(...row)));
    };
    const show = async () => {
      const one = sentences[sentence.value], at = Number(unit.value);
      const own = Object.entries({ z: "update", r: "reset", "h̃": "candidate", h: "state" })
        .map(([name, gate]) => ({ name, values: one.units[gate][at] }));
      const z = own[0].values, high = highest(z), low = lowest(z);
      unit.setAttribute("aria-valuetext", `${w.unit} ${at}`);
      output.value = say(w.gates_says, {
        unit: at, high: one.words[high], highest: short(z[high]), low: one.words[low], lowest: short(z[low]),
        prediction: one.prediction, target: one.target,
      });
      fill(box.querySelector("table"), ["", ...one.words], own);
      const rows = own.flatMap(({ name, values }) =>
        values.map((value, t) => ({ word: numbered(one.words)[t], series: name, value })));
      await view.data("rows", rows).resize().runAsync();  // labels of other words need other space
    };
    sentence.addEventListener("change", () => { variable(); show(); });
    unit.addEventListener("input", show);
    box.querySelector(".variable").addEventListener("click", () => { variable(); show(); });
    variable();
    await show();
  },

  // What a held z, or r, does to the state and to what is left of each word.
  async memory(box, w, kind) {
    const [sentence, kept, z, r, output] = [".sentence-choice", ".kept", ".z", ".r", ".says"]
      .map(name => box.querySelector(name));
    const { view } = await vegaEmbed(box.querySelector(".chart"), charts[kind].memory, options);
    const units = () => kept.replaceChildren(...sentences[sentence.value].held.units.map((unit, place) =>
      new Option(unit, place)));
    const level = place => levels[place] === null ? w.learned : levels[place].toFixed(1);
    const show = async () => {
      const one = sentences[sentence.value], own = one.held, at = Number(kept.value);
      const [i, j] = [Number(z.value), Number(r.value)];
      for (const slider of [z, r]) slider.setAttribute("aria-valuetext", level(Number(slider.value)));
      const chances = own.probabilities[i][j], said = highest(chances);
      const left = own.left[i][j], state = own.states[i][j][at], learned = own.states[0][0][at];
      output.value = say(w.memory_says, {
        z: level(i), r: level(j), prediction: labels[said], probability: (100 * chances[said]).toFixed(0),
        before: labels[highest(own.probabilities[0][0])], word: one.words[0], left: short(left[0]),
        left_before: short(own.left[0][0][0]),
      }) + (levels[i] === null ? "" :
        say(w.decay, { z: level(i), share: short(100 * (1 - levels[i]) ** 10) }));
      fill(box.querySelector("table"), ["", ...one.words], [
        { name: w.left_row, values: left }, { name: w.state_row, values: state }, { name: w.learned_row, values: learned },
      ]);
      const rows = Object.entries({ [w.learned]: learned, [w.held]: state }).flatMap(([name, values]) =>
        values.map((value, t) => ({ word: numbered(one.words)[t], series: name, value })));
      await view.data("rows", rows).resize().runAsync();  // labels of other words need other space
    };
    sentence.addEventListener("change", () => { units(); show(); });
    for (const control of [kept, z, r]) control.addEventListener("input", show);
    units();
    await show();
  },

  // What is left of a gradient, by lag and over training.
  async fading(box, w, kind) {
    const [condition, step, lag, output] = [".condition", ".step", ".lag", ".says"].map(name => box.querySelector(name));
    const { view } = await vegaEmbed(box.querySelector(".chart"), charts[kind].fading, options);
    const limits = () => {
      const own = fading[condition.value];
      step.max = own.steps.length - 1;
      lag.max = own.lags.length - 1;
      [step.value, lag.value] = [0, own.lags.length - 1];
    };
    const show = async () => {
      const own = fading[condition.value], i = Number(step.value), k = Number(lag.value);
      const cells = Object.entries(own.curves);
      step.setAttribute("aria-valuetext", say(w.updates, { step: own.steps[i] }));
      lag.setAttribute("aria-valuetext", say(w.steps_back, { lag: own.lags[k] }));
      output.value = say(w.fading_says, {
        step: own.steps[i], lag: own.lags[k],
        parts: cells.map(([name, curves]) => `${names[name]} ${short(curves[i][k])}`).join(", "),
      });
      fill(box.querySelector("table"), [w.cell, w.left, w.before, w.accuracy, w.seeds], cells.map(([name, curves]) => ({
        name: names[name], values: [curves[i][k], curves[0][k], own.accuracy[name].mean, own.accuracy[name].n],
        texts: [short(curves[i][k]), short(curves[0][k]), own.accuracy[name].mean.toFixed(3), own.accuracy[name].n],
      })));
      const rows = cells.flatMap(([name, curves]) => own.lags.map((lag, at) =>
        ({ cell: names[name], lag, value: curves[i][at] })).filter(row => row.value !== null));
      await view.data("rows", rows).data("rule", [{ lag: own.lags[k] }]).runAsync();
    };
    condition.addEventListener("change", () => { limits(); show(); });
    for (const slider of [step, lag]) slider.addEventListener("input", show);
    limits();
    await show();
  },

  // Attention beside the change of the prediction without a word.
  async attention(box, w) {
    const [sentence, seed, output] = [".sentence-choice", ".seed", ".says"].map(name => box.querySelector(name));
    const show = () => {
      const one = sentences[sentence.value], own = one.attention[seed.value];
      const attended = highest(own.weights), decisive = highest(own.leave_one_out);
      output.value = say(w.attention_says, {
        attended: one.words[attended], decisive: one.words[decisive], prediction: own.prediction,
        agree: attended === decisive ? w.same : w.other, tau: short(own.tau),
      });
      fill(box.querySelector("table"), ["", ...one.words], [
        { name: w.attention_row, values: own.weights }, { name: w.loo_row, values: own.leave_one_out },
      ]);
    };
    for (const control of [sentence, seed]) control.addEventListener("change", show);
    show();
  },
};

// The parts of a language start when it is first shown: before, a chart has no width.
const started = new Set();
async function show(kind) {
  for (const one of document.querySelectorAll("article.language")) one.hidden = one.dataset.language !== kind;
  for (const one of document.querySelectorAll(".languages button")) {
    one.setAttribute("aria-pressed", one.dataset.language === kind);
  }
  document.documentElement.lang = kind === "zh" ? "zh-CN" : "en";
  if (!started.has(kind)) {
    started.add(kind);
    for (const box of document.querySelectorAll(`article[data-language="${kind}"] .widget`)) {
      await starts[box.dataset.widget](box, words[kind], kind);
    }
  }
  document.body.dataset.drawn = kind;
}
for (const one of document.querySelectorAll(".languages button")) {
  one.addEventListener("click", () => { history.replaceState(null, "", `#${one.dataset.language}`); show(one.dataset.language); });
}
show(location.hash === "#zh" || (!location.hash && navigator.language.startsWith("zh")) ? "zh" : "en");
