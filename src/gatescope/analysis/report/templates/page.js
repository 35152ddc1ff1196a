"use strict";
// Sort tables by the values of their cells: numbers numerically, missing values last.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = head.closest("table").tBodies[0];
    const place = head.cellIndex, descending = head.getAttribute("aria-sort") === "ascending";
    const key = row => row.cells[place].dataset.value ?? row.cells[place].textContent.trim();
    const numeric = [...body.rows].every(row => key(row) === "" || !Number.isNaN(Number(key(row))));
    const compare = (a, b) => numeric ? Number(a) - Number(b) : a.localeCompare(b);
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return descending ? compare(y, x) : compare(x, y);
    });
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    body.append(...rows);
  });
}

// A chart is drawn when its section is first opened: before, it has no width.
const specs = JSON.parse(document.getElementById("charts").textContent);
const views = [];
const boxes = [...document.querySelectorAll(".switches input")];
const shown = () => boxes.filter(box => box.checked).map(box => box.value);

async function draw(section) {
  for (const place of section.querySelectorAll(".chart:empty")) {
    const options = { actions: false, renderer: "svg" };
    const { view } = await vegaEmbed(place, specs[place.dataset.chart], options);
    views.push(view);
    await view.signal("shown", shown()).runAsync();
    place.dataset.drawn = "yes";
  }
}

for (const section of document.querySelectorAll("details.hover")) {
  section.addEventListener("toggle", () => {
    document.querySelector(".switches").hidden = !document.querySelector("details.hover[open]");
    if (section.open) draw(section);
  });
}

for (const box of boxes) {
  box.addEventListener("change", () => {
    for (const view of views) view.signal("shown", shown()).runAsync();
    document.querySelector(".switches output").value = `${shown().length} of ${boxes.length} shown`;
  });
}

// A link to a folded section opens it; printing opens all.
function reveal() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") target.open = true;
}
addEventListener("hashchange", reveal);
reveal();
addEventListener("beforeprint", () => {
  for (const section of document.querySelectorAll("details.section")) section.open = true;
});
