// Drawing around points by hand, or a box. Plotly has both, but looks at every point while the pointer moves, paints
// them all anew at the end and tells of it up to a tenth of a second late. Part of live_plotly.js.

const STILL = 4; // pixels; a press that moves less is a click
const APART = 2; // pixels between corners
const MOST_CORNERS = 4000;
const SVG = "http://www.w3.org/2000/svg";

// The ground of the plot under the pointer, if a press there begins a lasso or a box.
function padUnder(chart, event) {
  const drawing = ["lasso", "select"].includes(chart.element._fullLayout?.dragmode);
  return chart.data.regions && drawing ? event.target.closest?.(".nsewdrag") : null;
}

function outlinePath(chart) {
  let svg = chart.element.querySelector("svg.outline");
  if (!svg) {
    svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "outline");
    svg.setAttribute("aria-hidden", "true");
    Object.assign(svg.style, { position: "absolute", inset: "0", width: "100%", height: "100%" });
    Object.assign(svg.style, { pointerEvents: "none", willChange: "transform" });
    const path = svg.appendChild(document.createElementNS(SVG, "path"));
    Object.assign(path.style, { stroke: "var(--st-text-color)", strokeWidth: "1px", strokeDasharray: "4 3" });
    Object.assign(path.style, { fill: "var(--st-text-color)", fillOpacity: "0.06" });
    chart.element.append(svg);
  }
  return svg.firstChild;
}

const withoutOutline = (chart) => chart.element.querySelector("svg.outline")?.remove();

// In pixels of the plot. Beyond its edges, just outside of them: points on the very edge are meant too.
function placeOf(chart, event) {
  const { xaxis, yaxis } = chart.element._fullLayout;
  const box = chart.element.getBoundingClientRect();
  const within = (value, length) => Math.max(-1, Math.min(length + 1, value));
  return [
    within(event.clientX - box.x - xaxis._offset, xaxis._length),
    within(event.clientY - box.y - yaxis._offset, yaxis._length),
  ];
}

// A box that is all but flat is a stretch of one axis.
function boxCorners(chart, [x0, y0], [x1, y1]) {
  const { xaxis, yaxis } = chart.element._fullLayout;
  const [wide, high] = [Math.abs(x1 - x0), Math.abs(y1 - y0)];
  if (high < Math.min(0.6 * wide, 12)) [y0, y1] = [-1, yaxis._length + 1];
  else if (wide < Math.min(0.6 * high, 12)) [x0, x1] = [-1, xaxis._length + 1];
  return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
}

function cornersOf(chart) {
  const { places, lasso } = chart.press;
  if (!lasso) return boxCorners(chart, places[0], places.at(-1));
  const every = Math.ceil(places.length / MOST_CORNERS);
  return places.filter((_, n) => n % every === 0);
}

function regionOf(chart) {
  const { xaxis, yaxis } = chart.element._fullLayout;
  const { lasso } = chart.press;
  const corners = lasso ? cornersOf(chart) : cornersOf(chart).filter((_, n) => n % 2 === 0);
  // p2d, not p2c: on a logarithmic axis the value, not its logarithm
  return { lasso, x: corners.map(([x]) => xaxis.p2d(x)), y: corners.map(([, y]) => yaxis.p2d(y)) };
}

// `tell(points, region)` is called at the end of a press: with the point that was clicked, or what was drawn around.
function listenToPresses(chart, Plotly, tell) {
  const { element } = chart;
  let hovered = null;
  element.on("plotly_hover", (event) => (hovered = event));
  element.on("plotly_unhover", () => (hovered = null));

  const begin = (event) => {
    const pad = event.isPrimary && event.button === 0 ? padUnder(chart, event) : null;
    if (!pad) return;
    event.preventDefault(); // no events of a mouse, by which plotly would draw its own
    pad.setPointerCapture(event.pointerId);
    const lasso = element._fullLayout.dragmode === "lasso";
    chart.press = { id: event.pointerId, lasso, places: [placeOf(chart, event)], moved: false, hovered };
  };
  const move = (event) => {
    const { press } = chart;
    if (press?.id !== event.pointerId) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) add(press, each);
    if (!press.moved) return;
    const [first, ...rest] = cornersOf(chart).map(([x, y]) => {
      const { xaxis, yaxis } = element._fullLayout;
      return `${x + xaxis._offset},${y + yaxis._offset}`;
    });
    outlinePath(chart).setAttribute("d", `M${first}L${rest.join(" ")}Z`);
  };
  const add = (press, event) => {
    const place = placeOf(chart, event);
    const far = (from, pixels) => Math.hypot(place[0] - from[0], place[1] - from[1]) >= pixels;
    if (!press.moved && far(press.places[0], STILL)) {
      press.moved = true;
      hovered = null;
      Plotly.Fx.unhover(element);
    }
    if (press.moved && far(press.places.at(-1), APART)) press.places.push(place);
  };
  const end = (event) => {
    const { press } = chart;
    if (press?.id !== event.pointerId) return;
    add(press, event);
    const points = press.moved ? [] : selected(press.hovered).slice(0, 1);
    if (!press.moved && points.length) tell(points, null);
    else if (press.moved && (!press.lasso || press.places.length > 2)) tell([], regionOf(chart));
    else withoutOutline(chart);
    chart.press = null;
  };
  const give = (event) => {
    if (chart.press?.id !== event.pointerId) return;
    chart.press = null;
    withoutOutline(chart);
  };
  element.addEventListener("pointerdown", begin, true);
  element.addEventListener("pointermove", move, true);
  element.addEventListener("pointerup", end, true);
  element.addEventListener("pointercancel", give, true);
  element.addEventListener("dblclick", (event) => padUnder(chart, event) && tell([], null), true);
  // A finger would move the page, or begin what plotly does with it.
  const finger = (event) => {
    if (!padUnder(chart, event)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  element.addEventListener("touchstart", finger, { capture: true, passive: false });
}
