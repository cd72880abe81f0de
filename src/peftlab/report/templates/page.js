"use strict";

// Tables: sort by a column's data-value (numbers as numbers, what is missing last), filter by text and by choice.

function valueOf(row, column) {
  const cell = row.cells[column];
  const given = cell.dataset.value;
  const text = given === undefined ? cell.textContent.trim() : given;
  return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
}

function compareValues(a, b) {
  if (a === "" || b === "") return (a === "") - (b === "");
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}

function sortTable(table, header) {
  const column = header.cellIndex;
  const direction = header.getAttribute("aria-sort") === "descending" ? "ascending"
    : header.getAttribute("aria-sort") === "ascending" ? "descending"
    : header.classList.contains("n") ? "descending" : "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction);
  const rows = [...table.tBodies[0].rows];
  const sign = direction === "ascending" ? 1 : -1;
  rows.sort((first, second) => {
    const a = valueOf(first, column), b = valueOf(second, column);
    return a === "" || b === "" ? compareValues(a, b) : sign * compareValues(a, b);
  });
  table.tBodies[0].append(...rows);
}

function filterTable(controls, table) {
  const words = controls.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
  const choices = [...controls.querySelectorAll("select")].filter((select) => select.value !== "");
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    const text = row.textContent.toLowerCase();
    const fits = words.every((word) => text.includes(word))
      && choices.every((select) => row.dataset[select.dataset.key] === select.value);
    row.hidden = !fits;
    shown += fits;
  }
  controls.querySelector("output").textContent = `${shown} of ${table.tBodies[0].rows.length} rows`;
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const header of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sortTable(table, header));
  }
}
for (const controls of document.querySelectorAll(".filter")) {
  const table = document.getElementById(controls.dataset.table);
  controls.addEventListener("input", () => filterTable(controls, table));
  filterTable(controls, table);
}

// Figures: those near the window first, then all others, so that printing and a picture of the whole page have them; in the
// page's own colours, again when light turns to dark. On a phone the panels of a figure stand below one another.

const figures = JSON.parse(document.getElementById("figures").textContent);
const darkness = window.matchMedia("(prefers-color-scheme: dark)");

function template() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = {
    gridcolor: colour("--grid"), linecolor: colour("--rule"), zerolinecolor: colour("--rule"),
    tickcolor: colour("--rule"), automargin: true, title: { standoff: 8 },
  };
  const clear = "rgba(0,0,0,0)";
  return { layout: {
    paper_bgcolor: clear, plot_bgcolor: clear, xaxis: axis, yaxis: axis,
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("--ink") },
    hoverlabel: { bgcolor: colour("--raised"), bordercolor: colour("--rule"), font: { color: colour("--ink") } },
    modebar: { bgcolor: clear, color: colour("--quiet"), activecolor: colour("--accent") },
    legend: { bgcolor: clear },
  } };
}

function isNarrow() {
  return window.innerWidth < 720;
}

// Panels one below the other, each as wide as the page: its axes get a slice of the height, and its title follows.
function stacked(given) {
  const layout = structuredClone(given);
  const panels = Object.keys(layout).filter((name) => /^xaxis\d*$/.test(name)).map((name) => {
    const x = layout[name], y = layout[name.replace("x", "y")];
    return { x, y, middle: x.domain && (x.domain[0] + x.domain[1]) / 2, top: y?.domain?.[1] };
  }).filter((panel) => panel.middle !== undefined && panel.top !== undefined);
  if (panels.length < 2) return layout;
  const rows = new Set(panels.map((panel) => panel.top)).size, share = 1 / panels.length;
  layout.height = Math.round(given.height / rows * panels.length);
  const gap = Math.min(0.35 * share, 70 / layout.height);
  const titles = new Map((layout.annotations ?? []).map((note) => [note, panels.findIndex(
    (panel) => Math.abs(note.x - panel.middle) < 1e-3 && Math.abs(note.y - panel.top) < 1e-3)]));
  for (const [note, place] of titles) if (place >= 0) Object.assign(note, { x: 0.5, y: 1 - place * share });
  panels.forEach(({ x, y }, place) => {
    Object.assign(x, { domain: [0, 1], showticklabels: true });
    Object.assign(y, { domain: [1 - (place + 1) * share + gap, 1 - place * share], showticklabels: true });
  });
  return layout;
}

async function draw(card) {
  const variants = figures[card.dataset.figure];
  const select = card.querySelector("select");
  const { figure, notes } = variants[select ? Number(select.value) : 0];
  const plot = card.querySelector(".plot");
  plot.dataset.state = "drawing";
  try {
    const shown = isNarrow() ? stacked(figure.layout) : structuredClone(figure.layout);
    const layout = { ...shown, template: template(), autosize: true };
    const config = { responsive: true, displaylogo: false, toImageButtonOptions: { format: "svg" } };
    await Plotly.react(plot, structuredClone(figure.data), layout, config);
    plot.dataset.state = "drawn";
  } catch (error) {
    plot.dataset.state = "failed";
    plot.textContent = `This figure could not be drawn: ${error.message}`;
    console.error(error);
  }
  card.querySelector(".notes").replaceChildren(...notes.map((note) => {
    const line = document.createElement("div");
    line.textContent = note;
    return line;
  }));
}

const waiting = new Set(document.querySelectorAll("figure[data-figure]"));
function drawOnce(card) {
  if (waiting.delete(card)) draw(card);
}
const nearby = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) drawOnce(entry.target);
}, { rootMargin: "800px" });
for (const card of waiting) {
  nearby.observe(card);
  card.querySelector("select")?.addEventListener("change", () => draw(card));
}
function drawNext() {
  const [card] = waiting;
  if (card === undefined) return;
  drawOnce(card);
  setTimeout(drawNext, 0); // the page answers between two figures
}
window.addEventListener("load", () => setTimeout(drawNext, 0));
const resize = () => document.querySelectorAll('.plot[data-state="drawn"]').forEach((plot) => Plotly.Plots.resize(plot));
window.addEventListener("beforeprint", () => { for (const card of [...waiting]) drawOnce(card); resize(); });
window.addEventListener("afterprint", resize);
let wasNarrow = isNarrow();
window.addEventListener("resize", () => {
  if (wasNarrow === isNarrow()) return;
  wasNarrow = isNarrow();
  redraw();
});
const redraw = () => document.querySelectorAll('.plot[data-state="drawn"]').forEach((plot) => draw(plot.closest("figure")));
darkness.addEventListener("change", redraw);
