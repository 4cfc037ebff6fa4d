"use strict";

// ---------------------------------------------------------------- the data, and what the user chose
const DATA = JSON.parse(document.getElementById("data").textContent);
const { grid, cells, curves, results, searches } = DATA;
const AXES = grid.axes;
const DIMENSIONS = [...AXES, grid.seeds];
const NONE = "none";
const TIME = "training time";
const ALL = "all";
const MOST_LINES = 24;
const MOST_LETTERS = 1500;
const URGENT = ["failed", "interrupted", "missing", "unknown", "nonfinite", "preempted", "running", "waiting", "done"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "5px,2px,1px,2px", "8px,2px"];
const PALETTES = {
  light: ["#0b62a8", "#c8500a", "#0f8a63", "#a8508c", "#a87400", "#3a9bd6", "#7a5230", "#5f6b7a"],
  dark: ["#5cb3f5", "#ff8a4c", "#35c795", "#e29ccb", "#f0b840", "#9adcff", "#cfa27a", "#a9b4c2"],
};
const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];

const choices = new URLSearchParams(location.hash.slice(1));

function remember(id, value) {
  choices.set(id, value);
  location.replace("#" + choices.toString());
}

// ---------------------------------------------------------------- small helpers
const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;
const isNarrow = () => window.innerWidth < 720;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const find = (id) => document.getElementById(id);
const count = (number, noun) => number + " " + noun + (number === 1 ? "" : "s");

// plotly reads a few HTML tags and templates in its texts; names and errors are never either
function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/%\{/g, "% {");
}

function shortNumber(value) {
  return value === null || value === undefined ? "–" : Number(value.toPrecision(4)).toString();
}

const UNITS = { 1: "" };
function withUnit(name, unit) {
  const text = unit in UNITS ? UNITS[unit] : unit;
  return text ? `${name} (${text})` : name;
}

const cellsOfPoint = grid.points.map(() => []);
grid.point_of_cell.forEach((point, cell) => cellsOfPoint[point].push(cell));

// what stands behind a place of a chart: ids, seeds, attempts and code of its cells
function behind(numbers) {
  const lines = numbers.slice(0, 4).map((cell) => {
    const seed = grid.seeds.labels[grid.seed_of_cell[cell]];
    const state = cells.states[cells.state[cell]];
    const progress = `${cells.logged[cell]}/${cells.planned[cell]}`;
    const code = cells.codes[cells.code[cell]];
    const facts = [`seed ${seed}`, state, progress, count(cells.attempts[cell], "attempt")];
    if (code) facts.push("code " + code);
    const error = cells.error[cells.id[cell]];
    const reason = error ? "<br>    " + plain(error.slice(0, 90)) : "";
    return plain(`${cells.id[cell]}: ${facts.join(", ")}`) + reason;
  });
  if (numbers.length > 4) lines.push(`and ${count(numbers.length - 4, "more cell")}`);
  return lines.join("<br>");
}

// ---------------------------------------------------------------- selectors
class Controls {
  constructor(id, redraw) {
    this.box = find(id);
    this.redraw = redraw;
  }

  begin() {
    this.focused = document.activeElement ? document.activeElement.id : "";
    this.box.textContent = "";
  }

  // a selector with [value, text] options; returns the value that is in force
  add(id, label, options, fallback) {
    const values = options.map((option) => option[0]);
    const wanted = choices.get(id);
    const value = values.includes(wanted) ? wanted : values.includes(fallback) ? fallback : values[0];
    if (options.length < 2) return value;
    const select = document.createElement("select");
    select.id = id;
    for (const [optionValue, text] of options) select.add(new Option(text, optionValue));
    select.value = value;
    select.addEventListener("change", () => {
      remember(id, select.value);
      this.redraw();
    });
    const holder = document.createElement("label");
    holder.append(label, select);
    this.box.append(holder);
    return value;
  }

  end() {
    const select = this.focused && find(this.focused);
    if (select && this.box.contains(select)) select.focus();
  }
}

const varied = (dimensions) => dimensions.filter((axis) => axis.values.length > 1);
const byKey = (key) => DIMENSIONS.find((axis) => axis.key === key);
const keyOptions = (dimensions) => dimensions.map((axis) => [axis.key, axis.key]);
const valueOptions = (axis) => axis.values.map((value, i) => [value, axis.labels[i]]);

// the value of a point, or of a cell, on a dimension
const pointIndex = (point, axis) => grid.points[point][AXES.indexOf(axis)];
function cellIndex(cell, axis) {
  return axis === grid.seeds ? grid.seed_of_cell[cell] : pointIndex(grid.point_of_cell[cell], axis);
}

// one selector for each axis that is not drawn; returns axis -> index of the value
function fixedValues(controls, prefix, drawn, hasCurves) {
  const fixed = new Map();
  const firstPoint = Math.max(0, grid.points.findIndex((_, point) => hasCurves(point)));
  for (const axis of varied(AXES)) {
    if (drawn.includes(axis)) continue;
    const fallback = axis.values[pointIndex(firstPoint, axis)];
    const value = controls.add(`${prefix}.${axis.key}`, axis.key, valueOptions(axis), fallback);
    fixed.set(axis, axis.values.indexOf(value));
  }
  return fixed;
}

function pointsWhere(fixed) {
  const numbers = [];
  for (let point = 0; point < grid.points.length; point++) {
    if ([...fixed].every(([axis, index]) => pointIndex(point, axis) === index)) numbers.push(point);
  }
  return numbers;
}

// ---------------------------------------------------------------- the look of all charts
function axisLook(title, extra) {
  return {
    title: { text: plain(title), standoff: 8 }, automargin: true, gridcolor: css("line"),
    linecolor: css("line"), tickcolor: css("line"), zeroline: false, fixedrange: false, ...extra,
  };
}

function layoutOf(height, xaxis, yaxis, extra) {
  return {
    height, xaxis, yaxis, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: isNarrow() ? 11 : 13, color: css("text") },
    margin: { l: 8, r: 12, t: 12, b: 8 },
    hoverlabel: {
      align: "left", bgcolor: css("panel"), bordercolor: css("soft"), namelength: -1,
      font: { color: css("text"), size: 12 },
    },
    ...extra,
  };
}

// drag to enlarge a part, click twice to see all again
const CONFIG = { responsive: true, displayModeBar: false, doubleClick: "reset" };

// ticks of a logarithmic axis: powers of ten, with 2 and 5 between them where there are few
function logTicks(values) {
  const positive = values.filter((value) => value > 0);
  if (!positive.length) return {};
  const [low, high] = [Math.min(...positive), Math.max(...positive)];
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const steps = Math.log10(high / low) > 3 ? [1] : [1, 2, 5];
  const ticks = [];
  for (let power = first; power <= last; power++) for (const step of steps) ticks.push(step * 10 ** power);
  const shown = ticks.filter((tick) => tick >= low / 1.05 && tick <= high * 1.05);
  if (shown.length < 2) return {};
  return { tickvals: shown, ticktext: shown.map((tick) => (tick >= 1e5 || tick < 1e-3 ? tick.toExponential(0).replace("+", "") : String(Number(tick.toPrecision(2))))) };
}

const wasNarrow = new Map();

function show(id, traces, layout) {
  // plotly keeps parts of a colour bar that is turned
  if (wasNarrow.get(id) !== isNarrow()) Plotly.purge(id);
  wasNarrow.set(id, isNarrow());
  find(id).style.height = layout.height + "px";
  Plotly.react(id, traces, layout, CONFIG);
}

// ---------------------------------------------------------------- states of all cells
function drawProgress() {
  if (!find("progress")) return;
  const dimensions = varied(DIMENSIONS);
  const controls = progressControls;
  controls.begin();
  const bySize = (a, b) => (a === grid.seeds) - (b === grid.seeds) || b.values.length - a.values.length;
  const longest = [...dimensions].sort(bySize);
  const x = byKey(controls.add("progress.x", "across", keyOptions(dimensions), longest[0].key));
  const others = dimensions.filter((axis) => axis !== x);
  const second = longest.find((axis) => axis !== x);
  const yOptions = [...keyOptions(others), [NONE, "nothing"]];
  const y = byKey(controls.add("progress.y", "down", yOptions, second ? second.key : NONE));
  const kept = others.filter((axis) => axis !== y).map((axis) => {
    const options = [[ALL, "all"], ...valueOptions(axis)];
    return [axis, controls.add("progress." + axis.key, axis.key, options, ALL)];
  });
  controls.end();
  const rows = y ? y.values.length : 1;
  const places = Array.from({ length: rows }, () => x.values.map(() => []));
  cells.id.forEach((_, cell) => {
    const isShown = kept.every(([axis, value]) => value === ALL || axis.values[cellIndex(cell, axis)] === value);
    if (isShown) places[y ? cellIndex(cell, y) : 0][cellIndex(cell, x)].push(cell);
  });
  show("progress-chart", [stateTrace(places, x, y)], progressLayout(x, y, rows));
}

function mostUrgent(numbers) {
  const states = numbers.map((cell) => cells.states[cells.state[cell]]);
  const state = URGENT.find((name) => states.includes(name));
  return { state, share: states.filter((name) => name === state).length };
}

function stateTrace(places, x, y) {
  const hasAllLetters = places.length * places[0].length <= MOST_LETTERS;
  const z = [], text = [], hover = [];
  places.forEach((row, i) => {
    z.push([]); text.push([]); hover.push([]);
    row.forEach((numbers, j) => {
      const { state, share } = mostUrgent(numbers);
      const letter = DATA.letters[state] + (share < numbers.length ? ` ${share}/${numbers.length}` : "");
      const where = `${plain(x.key)} = ${plain(x.labels[j])}` + (y ? `, ${plain(y.key)} = ${plain(y.labels[i])}` : "");
      z[i].push(numbers.length ? URGENT.indexOf(state) : null);
      text[i].push(numbers.length && (hasAllLetters || state !== "done") ? letter : "");
      hover[i].push(numbers.length ? where + "<br>" + behind(numbers) : "");
    });
  });
  const colours = URGENT.map(css);
  const scale = colours.flatMap((colour, i) => [[i / colours.length, colour], [(i + 1) / colours.length, colour]]);
  return {
    type: "heatmap", z, text, hovertext: hover, hoverinfo: "text", texttemplate: "%{text}",
    textfont: { size: isNarrow() ? 9 : 12, color: "#10151c" }, colorscale: scale, zmin: -0.5, zmax: URGENT.length - 0.5,
    showscale: false, xgap: 1, ygap: 1, hoverongaps: false,
  };
}

// heat maps are drawn over indices: labels that look like numbers stay labels
function indexTicks(axis) {
  const most = isNarrow() ? 8 : 24;
  const stride = Math.ceil(axis.labels.length / most);
  const shown = axis.labels.map((_, i) => i).filter((i) => i % stride === 0);
  return {
    tickvals: shown, ticktext: shown.map((i) => plain(axis.labels[i])),
    range: [-0.5, axis.labels.length - 0.5], showgrid: false,
  };
}

// an upright title needs about 8 pixels for a letter
const titleHeight = (axis) => (axis ? Math.max(60, axis.name.length * 8) : 60);

function progressLayout(x, y, rows) {
  const height = 90 + Math.min(Math.max(rows * 26, titleHeight(y)), 520);
  const down = y
    ? axisLook(y.name, { ...indexTicks(y), range: [y.values.length - 0.5, -0.5] })
    : axisLook("", { showticklabels: false, showgrid: false });
  return layoutOf(height, axisLook(x.key, indexTicks(x)), down);
}

// ---------------------------------------------------------------- curves
function colourOf(i, lines) {
  const palette = PALETTES[isDark() ? "dark" : "light"];
  if (lines <= palette.length) return palette[i];
  const scale = isDark() ? VIRIDIS.slice(2) : VIRIDIS.slice(0, -1);
  const place = (i / (lines - 1)) * (scale.length - 1);
  return mix(scale[Math.floor(place)], scale[Math.ceil(place)], place % 1);
}

function mix(first, second, share) {
  const channels = [1, 3, 5].map((k) => {
    const [a, b] = [first, second].map((colour) => parseInt(colour.slice(k, k + 2), 16));
    return Math.round(a + (b - a) * share);
  });
  return `rgb(${channels.join(",")})`;
}

function thinnedList(list, most) {
  if (list.length <= most) return list;
  return Array.from({ length: most }, (_, i) => list[Math.round((i * (list.length - 1)) / (most - 1))]);
}

const metricOf = (name) => curves.metrics.find((metric) => metric.name === name);

function timeOptions() {
  const names = ["epoch", "step"].filter((name) => curves.x.length && curves.x.every((times) => times[name]));
  return names.map((name) => [name, name + "s"]);
}

// the first metric that is a curve, not a single row at the end of training
function firstCurve() {
  const isCurve = (metric) => curves.series[metric.name].some((one) => one && one.mean.length > 2);
  return (curves.metrics.find(isCurve) || curves.metrics[0]).name;
}

// what rows are counted by: a measure has a row for each direction or point, and no training
const timeTitle = (time) => (DATA.is_measure ? `row (${time})` : `training time (${time}s)`);
const scaleOptions = [["log", "logarithmic"], ["linear", "linear"]];
const defaultScale = (times) => (DATA.is_measure || times.length < 2 ? "linear" : "log");

function drawCurves() {
  if (!find("curves-controls")) return;
  const controls = curvesControls;
  controls.begin();
  const names = curves.metrics.map((metric) => [metric.name, metric.name]);
  const metric = controls.add("curves.metric", "metric", names, firstCurve());
  const series = curves.series[metric];
  const options = [...keyOptions(varied(AXES)), [NONE, "nothing"]];
  const largest = [...varied(AXES)].sort((a, b) => b.values.length - a.values.length)[0];
  const by = byKey(controls.add("curves.by", "one line for each", options, largest ? largest.key : NONE));
  const fixed = fixedValues(controls, "curves", by ? [by] : [], (point) => series[point]);
  const time = controls.add("curves.time", "over", timeOptions(), "epoch");
  const allTimes = [...new Set(curves.x.flatMap((times) => times[time] || []))];
  const xType = controls.add("curves.x", "horizontal", scaleOptions, defaultScale(allTimes));
  const yType = controls.add("curves.y", "vertical", [["linear", "linear"], ["log", "logarithmic"]], "linear");
  const repeated = series.some((one) => one && one.cells.length > 1);
  const shown = [["mean", "mean and standard error"], ["seeds", "every seed"]];
  const what = controls.add("curves.show", "show", repeated ? shown : shown.slice(0, 1), "mean");
  controls.end();
  const logged = pointsWhere(fixed).filter((point) => series[point]);
  if (by) logged.sort((a, b) => pointIndex(a, by) - pointIndex(b, by));
  const lines = thinnedList(logged, MOST_LINES);
  const traces = lines.flatMap((point, i) => {
    const look = { colour: colourOf(i, lines.length), dash: lines.length <= 8 ? DASHES[i] : "solid", symbol: i % 8, isCrowded: lines.length > 8 };
    const label = by ? by.labels[pointIndex(point, by)] : metric;
    return what === "seeds" && series[point].seeds.length
      ? seedTraces(series[point], label, time, look)
      : meanTraces(series[point], label, time, look);
  });
  const described = metricOf(metric);
  find("curves-caption").textContent = described.meaning ? `${metric}: ${described.meaning}.` : "";
  find("curves-note").textContent = curvesNote(logged, lines, what, series, time);
  show("curves-chart", traces, curvesLayout(described, time, xType, yType, by, lines.length));
}

function curvesNote(logged, lines, what, series, time) {
  const notes = [];
  if (!logged.length) notes.push("Nothing is logged at this choice.");
  if (lines.length < logged.length) notes.push(`${lines.length} of ${logged.length} lines are drawn, evenly spaced.`);
  const lacksSeeds = lines.some((point) => series[point].cells.length > 1 && !series[point].seeds.length);
  if (what === "seeds" && lacksSeeds) notes.push("Single seeds were left out to keep this page small; means are drawn.");
  const changes = !DATA.is_measure && lines.some((point) => Array.isArray(series[point].count));
  if (what === "mean" && changes) notes.push(`At some ${time}s not every seed has a row: the mean there is over fewer seeds, and the line can jump.`);
  return notes.join(" ");
}

// whether no training has two rows here, as of an error that is measured at the end alone
function isOneRowEach(one) {
  const rows = Array.isArray(one.count) ? one.count.reduce((a, b) => a + b, 0) : one.count * one.mean.length;
  return rows <= one.cells.length;
}

function meanTraces(one, label, time, look) {
  const x = curves.x[one.x][time];
  const seeds = x.map((_, i) => (Array.isArray(one.count) ? one.count[i] : one.count));
  const extra = x.map((_, i) => [one.error && one.error[i] !== null ? ` ± ${shortNumber(one.error[i])}` : "", count(seeds[i], "seed")]);
  const line = {
    type: "scatter", mode: x.length > 1 && !DATA.is_measure && !isOneRowEach(one) ? "lines" : "markers", x, y: one.mean, name: plain(label), legendgroup: label,
    line: { color: look.colour, width: 2, dash: look.dash }, marker: { color: look.colour, symbol: look.symbol, size: 7 },
    customdata: extra,
    hovertemplate: `<b>${plain(label)}</b>, ${time} %{x}: %{y:.4g}%{customdata[0]}, %{customdata[1]}<br>${behind(one.cells)}<extra></extra>`,
  };
  if (!one.error || one.error.every((error) => error === null)) return [line];
  const known = x.map((_, i) => i).filter((i) => one.error[i] !== null && one.mean[i] !== null);
  const upper = known.map((i) => one.mean[i] + one.error[i]);
  const lower = known.map((i) => one.mean[i] - one.error[i]);
  const times = known.map((i) => x[i]);
  const band = {
    type: "scatter", mode: "lines", x: [...times, ...times.slice().reverse()], y: [...upper, ...lower.reverse()],
    fill: "toself", fillcolor: look.colour, opacity: look.isCrowded ? 0.08 : 0.18, line: { width: 0 }, hoverinfo: "skip",
    showlegend: false, legendgroup: label,
  };
  return [band, line];
}

function seedTraces(one, label, time, look) {
  return one.seeds.map((values, i) => ({
    type: "scatter", mode: "lines", x: curves.x[one.x][time], y: values, name: plain(label), legendgroup: label,
    showlegend: i === 0, line: { color: look.colour, width: 1.2, dash: look.dash },
    hovertemplate: `<b>${plain(label)}</b>, ${time} %{x}: %{y:.4g}<br>${behind([one.cells[i]])}<extra></extra>`,
  }));
}

function curvesLayout(metric, time, xType, yType, by, lines) {
  const legend = isNarrow() || lines > 14
    ? { orientation: "h", y: -0.2, yanchor: "top", x: 0 }
    : { x: 1.01, y: 1, xanchor: "left" };
  const side = isNarrow() ? { side: "top" } : {}; // beside the names it would push the last of them out
  const title = { text: by ? plain(by.key) : "", font: { size: 12 }, ...side };
  const height = (isNarrow() ? 420 : 430) + (legend.orientation ? Math.ceil(lines / (isNarrow() ? 3 : 12)) * 20 : 0);
  const ticks = xType === "log" ? logTicks(curves.x.flatMap((times) => [times[time][0], times[time].at(-1)])) : {};
  const x = axisLook(timeTitle(time), { type: xType, ...ticks });
  const y = axisLook(withUnit(metric.name, metric.unit), { type: yType, exponentformat: "power" });
  return layoutOf(height, x, y, { showlegend: Boolean(by), legend: { ...legend, title, bgcolor: "rgba(0,0,0,0)" } });
}

// ---------------------------------------------------------------- the heat map
function drawMap() {
  if (!find("map")) return;
  if (!varied(AXES).length) {
    find("map").hidden = true;
    return;
  }
  const controls = mapControls;
  controls.begin();
  const axes = varied(AXES);
  const longest = [...axes].sort((a, b) => b.values.length - a.values.length);
  const x = byKey(controls.add("map.x", "across", keyOptions(axes), longest[0].key));
  const others = axes.filter((axis) => axis !== x);
  const hasTime = curves.metrics.length > 0;
  const yOptions = [...(results.length ? keyOptions(others) : []), ...(hasTime ? [[TIME, TIME]] : [])];
  if (!yOptions.length || (results.length && !others.length)) yOptions.push([NONE, "nothing"]);
  const isGrid = results.length && others.length;
  const second = longest.find((axis) => axis !== x);
  const y = controls.add("map.y", "up", yOptions, isGrid ? second.key : TIME);
  if (y === TIME) drawTimeMap(controls, x);
  else drawResultMap(controls, x, byKey(y));
}

function finishMap(trace, layout, caption) {
  find("map-caption").textContent = caption + " Grey: nothing is logged there.";
  show("map-chart", [trace], layout);
}

function mapTrace(z, hovertext, unit) {
  const isFlat = new Set(z.flat().filter((value) => value !== null)).size < 2;
  const bar = isNarrow()
    ? { orientation: "h", y: 1.02, yanchor: "bottom", thickness: 10, outlinewidth: 0 }
    : { thickness: 14, outlinewidth: 0, title: { text: z.length > 8 ? plain(unit) : "", side: "right" } };
  return { type: "heatmap", z, hovertext, hoverinfo: "text", colorscale: "Viridis", colorbar: bar, showscale: !isFlat, hoverongaps: false };
}

function drawResultMap(controls, x, y) {
  const names = results.map((result) => [result.column, result.label]);
  const column = controls.add("map.result", "result", names, names.length ? names[0][0] : "");
  const fixed = fixedValues(controls, "map", y ? [x, y] : [x], () => true);
  controls.end();
  const result = results.find((one) => one.column === column);
  const rows = y ? y.values.length : 1;
  const z = Array.from({ length: rows }, () => x.values.map(() => null));
  const hover = Array.from({ length: rows }, () => x.values.map(() => ""));
  for (const point of pointsWhere(fixed)) {
    const [i, j] = [y ? pointIndex(point, y) : 0, pointIndex(point, x)];
    const value = result ? result.mean[point] : null;
    z[i][j] = value;
    const error = value !== null && result.error[point] !== null ? ` ± ${shortNumber(result.error[point])}` : "";
    const seeds = value === null ? "" : `, ${count(result.count[point], "seed")}`;
    const name = result ? plain(withUnit(result.label, result.unit)) : "";
    hover[i][j] = `${pointText(point)}<br><b>${name}: ${shortNumber(value)}</b>${error}${seeds}<br>${behind(cellsOfPoint[point])}`;
  }
  const trace = { ...mapTrace(z, hover, result ? withUnit(result.label, result.unit) : ""), xgap: 1, ygap: 1 };
  if (rows * x.values.length <= 300 && !isNarrow()) trace.texttemplate = "%{z:.3g}";
  const up = y ? axisLook(y.name, indexTicks(y)) : axisLook("", { showticklabels: false, showgrid: false });
  const height = 100 + Math.min(Math.max(rows * 30, titleHeight(y)), 520);
  const extra = { plot_bgcolor: css("empty") };
  finishMap(trace, layoutOf(height, axisLook(x.key, indexTicks(x)), up, extra), "Mean over the seeds that are done.");
}

const pointText = (point) => AXES.map((axis) => `${plain(axis.key)} = ${plain(axis.labels[pointIndex(point, axis)])}`).join(", ");

function drawTimeMap(controls, x) {
  const names = curves.metrics.map((metric) => [metric.name, metric.name]);
  const metric = controls.add("map.metric", "metric", names, firstCurve());
  const series = curves.series[metric];
  const fixed = fixedValues(controls, "map", [x], (point) => series[point]);
  const time = controls.add("map.time", "time in", timeOptions(), "epoch");
  const points = pointsWhere(fixed).filter((point) => series[point]);
  const times = [...new Set(points.flatMap((point) => curves.x[series[point].x][time]))].sort((a, b) => a - b);
  const scale = controls.add("map.scale", "vertical", scaleOptions, defaultScale(times));
  controls.end();
  const z = times.map(() => x.values.map(() => null));
  const hover = times.map(() => x.values.map(() => ""));
  for (const point of points) fillColumn(z, hover, { point, one: series[point], column: pointIndex(point, x), times, time, metric });
  const described = metricOf(metric);
  const trace = { ...mapTrace(z, hover, withUnit(metric, described.unit)), y: edges(times), ...colourLimits(z) };
  const ticks = scale === "log" ? logTicks(times) : {};
  const up = axisLook(timeTitle(time), { type: scale, showgrid: false, ...ticks });
  const layout = layoutOf(isNarrow() ? 420 : 440, axisLook(x.key, indexTicks(x)), up, { plot_bgcolor: css("empty") });
  finishMap(trace, layout, "Mean over seeds. Between two logged rows the earlier one is shown.");
}

// the last logged value up to each time; nothing after the last row
function fillColumn(z, hover, { point, one, column, times, time, metric }) {
  const x = curves.x[one.x][time];
  const footer = behind(one.cells);
  let row = -1;
  times.forEach((now, i) => {
    while (row + 1 < x.length && x[row + 1] <= now) row += 1;
    if (row < 0 || now > x[x.length - 1]) return;
    z[i][column] = one.mean[row];
    const error = one.error && one.error[row] !== null ? ` ± ${shortNumber(one.error[row])}` : "";
    hover[i][column] = `${pointText(point)}<br><b>${time} ${x[row]}: ${plain(metric)} ${shortNumber(one.mean[row])}</b>${error}<br>${footer}`;
  });
}

// borders between increasing times, at their geometric means, so that a logarithmic axis can show them
function edges(times) {
  if (!times.length) return [];
  const inner = times.slice(1).map((time, i) => Math.sqrt(time * times[i]));
  const first = inner.length ? times[0] ** 2 / inner[0] : times[0] / 1.5;
  const last = inner.length ? times[times.length - 1] ** 2 / inner[inner.length - 1] : times[0] * 1.5;
  return [first, ...inner, last];
}

function colourLimits(z) {
  const values = z.flat().filter((value) => value !== null).sort((a, b) => a - b);
  if (values.length < 50 || values[0] === values[values.length - 1]) return {};
  const at = (share) => values[Math.round(share * (values.length - 1))];
  return { zmin: at(0.01), zmax: at(0.98) };
}

// ---------------------------------------------------------------- searches
function drawSearches() {
  if (!find("search-chart")) return;
  const colours = PALETTES[isDark() ? "dark" : "light"];
  const label = (search) => plain(search.point || search.axis);
  const marks = { true: [], false: [], null: [] };
  searches.forEach((search, row) => {
    for (const [value, success, cell] of search.trainings) marks[success].push({ value, row, cell });
  });
  const looks = [
    ["true", "met the condition", { symbol: "circle", color: colours[2], size: 10 }],
    ["false", "did not", { symbol: "circle-open", color: colours[1], size: 10, line: { width: 2 } }],
    ["null", "still open", { symbol: "x-thin", color: css("soft"), size: 9, line: { width: 2, color: css("soft") } }],
  ];
  const traces = looks.filter(([key]) => marks[key].length).map(([key, name, marker]) => ({
    type: "scatter", mode: "markers", name, marker, x: marks[key].map((mark) => mark.value), y: marks[key].map((mark) => mark.row),
    text: marks[key].map((mark) => `${searches[mark.row].axis} = ${mark.value}: ${name}<br>${trainingText(mark.cell)}`),
    hovertemplate: "%{text}<extra></extra>",
  }));
  traces.push(estimateTrace(colours[0]));
  const values = searches.flatMap((search) => search.trainings.map((training) => training[0])).filter((value) => value > 0);
  const isLog = values.length > 0 && Math.max(...values) / Math.min(...values) > 10;
  const axes = [...new Set(searches.map((search) => search.axis))].join(", ");
  const y = axisLook("", {
    tickvals: searches.map((_, i) => i), ticktext: searches.map((search) => wrapped(label(search))),
    range: [searches.length - 0.5, -0.5],
  });
  const height = 110 + Math.min(searches.length * 46, 1600);
  const legend = { orientation: "h", x: 0, y: 1, yanchor: "bottom" };
  show("search-chart", traces, layoutOf(height, axisLook(axes, isLog ? { type: "log", ...logTicks(values) } : {}), y, { legend }));
}

function wrapped(text) {
  const parts = text.split(", ");
  return (isNarrow() ? parts.map((part) => part.replace(/^[^=]*\./, "")) : parts).join("<br>");
}

function trainingText(id) {
  const cell = cells.id.indexOf(id);
  return cell < 0 ? plain(id) + ": not sent yet" : behind([cell]);
}

function estimateTrace(colour) {
  const shown = searches.map((search, row) => ({ search, row })).filter(({ search }) => search.n50 !== null);
  return {
    type: "scatter", mode: "markers", name: "estimate, 90 % interval", x: shown.map(({ search }) => search.n50),
    y: shown.map(({ row }) => row), marker: { symbol: "diamond", size: 11, color: colour },
    error_x: {
      type: "data", symmetric: false, color: colour, thickness: 1.5,
      array: shown.map(({ search }) => search.high - search.n50), arrayminus: shown.map(({ search }) => search.n50 - search.low),
    },
    text: shown.map(({ search }) => plain(search.estimate)), hovertemplate: "%{text}<extra></extra>",
  };
}

// ---------------------------------------------------------------- follow the file
// A page opened from a disk may not read its own file, but a frame of it can say when it was written.
function follow() {
  if (!DATA.is_live) return;
  const seconds = Math.min(Math.max(DATA.refresh || 10, 5), 60);
  window.addEventListener("message", (event) => {
    const written = event.data && event.data.redescent;
    if (written && written !== DATA.written) location.reload();
  });
  setInterval(() => {
    const old = find("probe");
    if (old) old.remove();
    const frame = document.createElement("iframe");
    frame.id = "probe";
    frame.hidden = true;
    frame.src = `${location.href.split(/[?#]/)[0]}?${Date.now()}#probe`;
    document.body.append(frame);
  }, seconds * 1000);
}

function showAge() {
  if (!DATA.is_live) return;
  const seconds = Math.max(0, Math.round(Date.now() / 1000 - DATA.written));
  const age = seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
  const isStale = DATA.refresh && seconds > 5 * DATA.refresh + 60;
  find("age").textContent = isStale ? `(${age} ago: the command that writes it has ended)` : `(${age} ago)`;
}

// ---------------------------------------------------------------- start
const progressControls = new Controls("progress-controls", drawProgress);
const curvesControls = new Controls("curves-controls", drawCurves);
const mapControls = new Controls("map-controls", drawMap);

function drawAll() {
  drawProgress();
  drawSearches();
  drawCurves();
  drawMap();
  document.documentElement.dataset.ready = "yes";
  performance.mark("ready");
}

drawAll();
follow();
showAge();
setInterval(showAge, 5000);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
matchMedia("(max-width: 719px)").addEventListener("change", drawAll);
