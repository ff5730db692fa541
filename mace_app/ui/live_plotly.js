// A plotly chart that outlives its data: Plotly.react keeps zoom, hidden legend entries and the DOM node itself.
// Streamlit calls the default export at every change of data or theme, and the returned function at the end.

const charts = new WeakMap();
let plotly;

function loadPlotly(url) {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  plotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      plotly = undefined; // the next change of data tries again
      reject(new Error(`${url} could not be loaded.`));
    };
    document.head.appendChild(script);
  });
  return plotly;
}

function themed(parentElement, data) {
  const style = getComputedStyle(parentElement.host ?? parentElement);
  const value = (name) => style.getPropertyValue(name).trim();
  const colours = value("--st-chart-categorical-colors").split(",").map((colour) => colour.trim());
  let text = data.figure;
  data.palette.forEach((placeholder, index) => {
    if (colours[index]) text = text.replaceAll(`"${placeholder}"`, JSON.stringify(colours[index]));
  });
  const figure = JSON.parse(text);
  const layout = figure.layout;
  const ink = value("--st-text-color");
  const grid = value("--st-border-color-light") || value("--st-border-color");
  const surface = value("--st-background-color");
  layout.autosize = true;
  layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
  layout.font = { family: value("--st-font"), color: ink, size: 12, ...layout.font };
  layout.hoverlabel = {
    bgcolor: surface,
    bordercolor: value("--st-border-color"),
    font: { family: value("--st-font"), color: ink, size: 12 },
    ...layout.hoverlabel,
  };
  layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: value("--st-gray-text-color") || ink, activecolor: ink };
  for (const name of Object.keys(layout)) {
    if (/^[xy]axis\d*$/.test(name)) layout[name] = { gridcolor: grid, zerolinecolor: grid, ...layout[name] };
  }
  return figure;
}

// Changes with every colour and font that a chart takes from the theme.
function themeOf(parentElement) {
  const style = getComputedStyle(parentElement.host ?? parentElement);
  const names = ["chart-categorical-colors", "text-color", "border-color-light", "border-color", "background-color", "font"];
  return names.map((name) => style.getPropertyValue(`--st-${name}`)).join("|");
}

function selected(event) {
  const points = (event?.points ?? []).filter((point) => point.customdata !== undefined);
  return points.map(({ customdata }) => (ArrayBuffer.isView(customdata) ? Array.from(customdata) : customdata));
}

const overlayOf = (chart) => window.chartMarks?.get(chart.data.name);

// What a person chose lies on a canvas above the chart: plotly would draw thousands of points anew for it.
function paintOverlay(chart) {
  const { element, data, parentElement } = chart;
  const layout = element._fullLayout;
  if (!data.regions || !layout?.xaxis) return;
  const [x, y] = [layout.xaxis, layout.yaxis];
  let canvas = element.querySelector("canvas.overlay");
  if (!canvas) {
    canvas = document.createElement("canvas");
    canvas.className = "overlay";
    canvas.setAttribute("aria-hidden", "true");
    // A layer of its own, so that the points below are not painted again with it.
    Object.assign(canvas.style, { position: "absolute", inset: "0", pointerEvents: "none", willChange: "transform" });
    element.append(canvas);
  }
  const ratio = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = [layout.width * ratio, layout.height * ratio];
  Object.assign(canvas.style, { width: `${layout.width}px`, height: `${layout.height}px` });
  const overlay = overlayOf(chart);
  for (const layer of element.querySelectorAll(".scatterlayer, .barlayer")) layer.style.opacity = overlay ? 0.4 : 1;
  if (!overlay) return;
  const style = getComputedStyle(parentElement.host ?? parentElement);
  const colour = style.getPropertyValue("--st-chart-categorical-colors").split(",")[1]?.trim() || data.palette[1];
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.beginPath();
  pen.rect(x._offset, y._offset, x._length, y._length);
  pen.clip();
  pen.fillStyle = pen.strokeStyle = colour;
  pen.lineWidth = 2;
  const [left, top] = [(value) => x._offset + x.d2p(value), (value) => y._offset + y.d2p(value)];
  overlay.points?.x.forEach((value, n) => {
    pen.beginPath();
    pen.arc(left(value), top(overlay.points.y[n]), 3.5, 0, 2 * Math.PI);
    pen.fill();
  });
  overlay.rings?.x.forEach((value, n) => {
    pen.beginPath();
    pen.arc(left(value), top(overlay.rings.y[n]), 7, 0, 2 * Math.PI);
    pen.stroke();
  });
  overlay.bars?.heights.forEach((height, n) => {
    const [from, to] = [left(overlay.bars.edges[n]), left(overlay.bars.edges[n + 1])];
    if (height > 0) pen.fillRect(from, top(height), Math.max(1, to - from), y._offset + y._length - top(height));
  });
  if (overlay.line) {
    pen.beginPath();
    overlay.line.x.forEach((value, n) => pen.lineTo(left(value), top(overlay.line.y[n])));
    pen.stroke();
  }
}

// The same for a picture: traces of plotly.
function overlayTraces(chart) {
  const overlay = overlayOf(chart);
  if (!overlay) return [];
  const { palette } = chart.data;
  const { points, rings, bars, line } = overlay;
  const common = { type: "scatter", name: "chosen", hoverinfo: "skip" };
  const found = [];
  if (points) found.push({ ...common, ...points, mode: "markers", marker: { size: 7, color: palette[1] } });
  if (rings) {
    const marker = { size: 14, symbol: "circle-open", color: palette[1], line: { width: 2 } };
    found.push({ ...common, ...rings, mode: "markers", marker, showlegend: false });
  }
  if (line) found.push({ ...common, ...line, mode: "lines", line: { color: palette[1], width: 2 } });
  if (bars) {
    const width = bars.heights.map((_, n) => bars.edges[n + 1] - bars.edges[n]);
    const x = width.map((wide, n) => bars.edges[n] + wide / 2);
    found.push({ type: "bar", name: "chosen", x, y: bars.heights, width, marker: { color: palette[1] } });
  }
  return found;
}

// Takes the outline away once the server has answered, and shows what is chosen now.
function mark(chart) {
  if (!chart.data.regions) return;
  paintOverlay(chart);
  if (!chart.press) withoutOutline(chart);
}

const PICTURE_ICON = {
  width: 24,
  height: 24,
  path: "M4 4h16v16H4zM6 6v12h12V6zM7 16l3-4 2 3 3-4 3 5z",
};

// For paper, not for the screen: light colours and an opaque ground, with the zoom of the moment.
function savePicture(chart, Plotly, format) {
  const { element, data } = chart;
  const { data: traces, layout } = JSON.parse(data.figure);
  const { width, height } = element.getBoundingClientRect();
  const shown = element._fullLayout;
  for (const name of Object.keys(shown)) {
    if (/^[xy]axis\d*$/.test(name)) layout[name] = { ...layout[name], range: [...shown[name].range], autorange: false };
  }
  layout.paper_bgcolor = layout.plot_bgcolor = "#ffffff";
  layout.font = { family: shown.font.family, color: "#1a2233", size: 12, ...layout.font };
  Plotly.downloadImage(
    { data: [...traces, ...overlayTraces(chart)], layout },
    {
      format,
      filename: data.name,
      width: data.picture.width ?? Math.round(width),
      height: data.picture.height ?? Math.round(height),
      scale: format === "png" ? data.picture.scale : 1,
    },
  );
}

function pictureButton(chart, Plotly, format) {
  const title = `Download as ${format.toUpperCase()}`;
  return { name: title, title, icon: PICTURE_ICON, click: () => savePicture(chart, Plotly, format) };
}

function listen(chart, Plotly) {
  const { element } = chart;
  if (!chart.data.regions) {
    const report = (event) => chart.setStateValue("selection", selected(event));
    element.on("plotly_selected", report);
    element.on("plotly_click", report);
    element.on("plotly_deselect", () => report(null));
    return;
  }
  const paint = () => paintOverlay(chart);
  for (const name of ["afterplot", "relayout", "relayouting"]) element.on(`plotly_${name}`, paint);
  const tell = (points, region) => chart.setTriggerValue("pointed", { points, region, how: chart.how });
  listenToPresses(chart, Plotly, tell);
  // While a drag zooms or moves the axes, a click is plotly's.
  element.on("plotly_click", (event) => {
    const points = selected(event).slice(0, 1);
    if (points.length) tell(points, null);
  });
}

function draw(chart, Plotly) {
  if (chart.ended) return;
  // A redraw in the middle of a drag would take the zoom box out of the person's hand.
  if (chart.held) {
    chart.waiting = true;
    return;
  }
  chart.waiting = false;
  const { element, data, parentElement } = chart;
  const theme = themeOf(parentElement);
  if (data.figure === chart.source && theme === chart.theme) return;
  [chart.source, chart.theme] = [data.figure, theme];
  const figure = themed(parentElement, data);
  const drawn = JSON.stringify(figure);
  if (drawn === chart.drawn) return;
  chart.drawn = drawn;
  // A finger that draws a lasso could no longer move the page.
  if (data.regions && matchMedia("(pointer: coarse)").matches) figure.layout.dragmode = false;
  Plotly.react(element, figure.data, figure.layout, {
    displaylogo: false,
    responsive: true,
    displayModeBar: "hover",
    // Named one by one: plotly's own choice has a button that sends the chart to a service in the cloud.
    modeBarButtons: [
      data.regions ? [pictureButton(chart, Plotly, "svg"), pictureButton(chart, Plotly, "png")] : ["toImage"],
      ["zoom2d", "pan2d", ...(data.selectable ? ["select2d", "lasso2d"] : [])],
      ["resetScale2d"],
    ],
    showSendToCloud: false,
    plotlyServerURL: "",
    toImageButtonOptions: { format: "svg", filename: data.name },
  });
  if (!chart.listening) {
    chart.listening = true;
    listen(chart, Plotly);
  }
  mark(chart);
}

function create(parentElement) {
  const element = parentElement.querySelector(".live-plotly");
  const chart = { parentElement, element, held: false, waiting: false, listening: false, ended: false };
  element.addEventListener(
    "pointerdown",
    (event) => {
      chart.held = true;
      if (!event.target.closest(".modebar")) chart.how = event.shiftKey ? "add" : event.altKey ? "remove" : "replace";
    },
    true,
  );
  chart.release = () => {
    if (!chart.held) return;
    chart.held = false;
    // Plotly finishes its own handling of the release first.
    if (chart.waiting) setTimeout(() => draw(chart, window.Plotly), 0);
  };
  window.addEventListener("pointerup", chart.release);
  window.addEventListener("pointercancel", chart.release);
  chart.marked = ({ detail }) => {
    if (!detail.includes(chart.data.name) || chart.awaited) return;
    // With the next picture: styles that other elements have just changed are then computed once for all.
    chart.awaited = requestAnimationFrame(() => {
      chart.awaited = 0;
      if (chart.listening && !chart.ended) mark(chart);
    });
  };
  window.addEventListener("chart-marks", chart.marked);
  charts.set(parentElement, chart);
  return chart;
}

export default function (component) {
  const { data, parentElement, setStateValue, setTriggerValue } = component;
  const chart = charts.get(parentElement) ?? create(parentElement);
  Object.assign(chart, { data, setTriggerValue, setStateValue: data.selectable ? setStateValue : () => {} });
  chart.element.style.height = `${data.height}px`;
  // Every point is painted by itself: what is not on the screen shall not cost anything.
  if (data.regions) chart.element.style.contentVisibility = "auto";
  chart.element.setAttribute("aria-label", data.label);
  loadPlotly(data.url).then(
    (Plotly) => draw(chart, Plotly),
    (error) => (chart.element.textContent = `The chart can't be drawn: ${error.message} Reload the page.`),
  );
  return () => {
    chart.ended = true;
    window.removeEventListener("pointerup", chart.release);
    window.removeEventListener("pointercancel", chart.release);
    window.removeEventListener("chart-marks", chart.marked);
    if (window.Plotly && chart.listening) window.Plotly.purge(chart.element);
    charts.delete(parentElement);
  };
}
