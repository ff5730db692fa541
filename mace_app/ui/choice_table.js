// Lines that can be chosen, sorted by the heading that was clicked last. Texts are set as text, never as HTML.

const orders = new WeakMap();

function add(parent, tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function compare(a, b) {
  if (a === b) return 0;
  if (a === null) return 1; // what is not known comes last
  if (b === null) return -1;
  return typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const table = parentElement.querySelector(".choices");
  const body = table.querySelector("tbody");
  table.querySelector("caption").textContent = data.label;
  parentElement.querySelector(".frame").setAttribute("aria-label", data.label);
  const shape = data.columns.join("\n");
  if (orders.get(parentElement)?.shape !== shape) orders.set(parentElement, { shape, column: null, down: true });
  const order = orders.get(parentElement);
  const words = data.columns.map((_, n) => data.lines.some((line) => typeof line.sort[n] === "string"));
  const focused = parentElement.activeElement?.dataset?.place;

  const fill = () => {
    const rows = data.lines.map((line, number) => ({ line, number }));
    if (order.column !== null)
      rows.sort((a, b) => {
        const [x, y] = [a.line.sort[order.column], b.line.sort[order.column]];
        return (order.down && x !== null && y !== null ? -1 : 1) * compare(x, y);
      });
    const lines = rows.map(({ line, number }) => {
      const row = document.createElement("tr");
      row.dataset.number = number;
      if (line.chosen) row.setAttribute("aria-current", "true");
      line.cells.forEach((text, n) => {
        const cell = add(row, "td", words[n] ? "words" : "", n ? text : undefined);
        if (!n) add(cell, "button", "", text).dataset.place = `line ${number}`;
      });
      return row;
    });
    body.replaceChildren(...lines);
    table.querySelectorAll("th").forEach((head, n) => {
      if (n === order.column) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  };

  const heads = document.createElement("tr");
  data.columns.forEach((title, n) => {
    const head = add(heads, "th", words[n] ? "words" : "");
    head.scope = "col";
    const button = add(head, "button", "", title);
    button.dataset.place = `head ${n}`;
    button.onclick = () => {
      [order.column, order.down] = [n, order.column === n ? !order.down : !words[n]];
      fill();
    };
  });
  table.querySelector("thead").replaceChildren(heads);
  fill();
  if (focused) parentElement.querySelector(`[data-place="${CSS.escape(focused)}"]`)?.focus();
  body.onclick = (event) => {
    const row = event.target.closest("tr");
    if (row) setTriggerValue("line", Number(row.dataset.number));
  };
}
