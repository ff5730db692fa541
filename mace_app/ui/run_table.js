// The list of runs: real links, so that a run can be opened in a tab of its own; a plain click stays in this session.
// Texts of files are set as text, never as HTML.

function add(parent, tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined && text !== null) node.textContent = text;
  parent.append(node);
  return node;
}

function build(row, data) {
  const line = document.createElement("tr");
  add(add(line, "td"), "span", `badge ${row.colour}`, row.state);
  const name = add(line, "td", "name");
  const link = add(name, "a", "", row.name);
  link.href = `?run=${encodeURIComponent(row.id)}`;
  add(name, "div", "quiet", row.created);
  const progress = add(line, "td", "progress");
  if (row.phase) add(progress, "div", "quiet", row.phase);
  if (row.fraction !== null) {
    const bar = add(progress, "div", "bar");
    bar.setAttribute("role", "progressbar");
    bar.setAttribute("aria-label", `Progress of ${row.name}`);
    bar.setAttribute("aria-valuenow", Math.round(100 * row.fraction));
    add(bar, "div").style.width = `${100 * row.fraction}%`;
  }
  for (const [index, value] of [row.epoch, row.best, row.elapsed, row.left].entries()) {
    const cell = add(line, "td", "numbers", value);
    if (value) cell.dataset.title = data.columns[index + 3];
  }
  return line;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const table = parentElement.querySelector(".runs");
  // Replacing the rows would take the keyboard's focus away.
  const focused = parentElement.activeElement?.getAttribute?.("href");
  const head = document.createElement("tr");
  for (const title of data.columns) add(head, "th", "", title).scope = "col";
  table.querySelector("thead").replaceChildren(head);
  table.querySelector("tbody").replaceChildren(...data.rows.map((row) => build(row, data)));
  if (focused) table.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  table.onclick = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    const link = event.target.closest("tr")?.querySelector("a");
    if (!link) return;
    event.preventDefault();
    setTriggerValue("opened", new URLSearchParams(link.getAttribute("href")).get("run"));
  };
}
