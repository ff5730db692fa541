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

function selected(event) {
  const points = (event?.points ?? []).filter((point) => point.customdata !== undefined);
  return points.map(({ customdata }) => (ArrayBuffer.isView(customdata) ? Array.from(customdata) : customdata));
}

// A marked part of the plane, whatever is drawn in it.
function regionOf(event) {
  const first = (axes, letter) => axes[Object.keys(axes).find((name) => name.startsWith(letter))] ?? [];
  if (event?.lassoPoints) return { lasso: true, x: first(event.lassoPoints, "x"), y: first(event.lassoPoints, "y") };
  if (event?.range) return { lasso: false, x: first(event.range, "x"), y: first(event.range, "y") };
  return null;
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
    { data: traces, layout },
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
  const tell = (points, region) => {
    chart.marked = region !== null;
    chart.setTriggerValue("pointed", { points, region, how: chart.how });
  };
  element.on("plotly_selected", (event) => {
    const region = regionOf(event);
    if (region) tell([], region);
  });
  element.on("plotly_click", (event) => {
    const points = selected(event).slice(0, 1);
    if (points.length) tell(points, null);
  });
  element.on("plotly_deselect", () => tell([], null));
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
  const figure = themed(parentElement, data);
  const drawn = JSON.stringify(figure);
  if (drawn === chart.drawn && !chart.marked) return;
  chart.drawn = drawn;
  if (data.regions) {
    // What was marked is now shown by the figure itself.
    chart.marked = false;
    figure.layout.selections = [];
    figure.layout.selectionrevision = chart.revision = (chart.revision ?? 0) + 1;
    // A finger that draws a lasso could no longer move the page.
    if (matchMedia("(pointer: coarse)").matches) figure.layout.dragmode = false;
  }
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
  if (chart.listening) return;
  chart.listening = true;
  listen(chart, Plotly);
}

function create(parentElement) {
  const element = parentElement.querySelector(".live-plotly");
  const chart = { parentElement, element, held: false, waiting: false, listening: false, ended: false };
  element.addEventListener(
    "pointerdown",
    (event) => {
      chart.held = true;
      chart.how = event.shiftKey ? "add" : event.altKey ? "remove" : "replace";
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
  charts.set(parentElement, chart);
  return chart;
}

export default function (component) {
  const { data, parentElement, setStateValue, setTriggerValue } = component;
  const chart = charts.get(parentElement) ?? create(parentElement);
  Object.assign(chart, { data, setTriggerValue, setStateValue: data.selectable ? setStateValue : () => {} });
  chart.element.style.height = `${data.height}px`;
  chart.element.setAttribute("aria-label", data.label);
  loadPlotly(data.url).then(
    (Plotly) => draw(chart, Plotly),
    (error) => (chart.element.textContent = `The chart can't be drawn: ${error.message} Reload the page.`),
  );
  return () => {
    chart.ended = true;
    window.removeEventListener("pointerup", chart.release);
    window.removeEventListener("pointercancel", chart.release);
    if (window.Plotly && chart.listening) window.Plotly.purge(chart.element);
    charts.delete(parentElement);
  };
}
