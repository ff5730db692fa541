// One structure in three dimensions, drawn with the canvas of plain HTML: no WebGL, no evaluated code, works everywhere.
// Coordinates are in Å; the screen's z points towards the person. Texts are set as text, never as HTML.

const views = new WeakMap();
const ERRORS = ["#4f7fd6", "#8a56c2", "#d9597a", "#f0a531"];
const ANGLE = 0.45;

const start = () => multiply(turn(0, -ANGLE), turn(1, ANGLE));

function turn(axis, angle) {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return axis === 0 ? [[1, 0, 0], [0, c, -s], [0, s, c]] : axis === 1 ? [[c, 0, s], [0, 1, 0], [-s, 0, c]] : [[c, -s, 0], [s, c, 0], [0, 0, 1]];
}
const multiply = (a, b) => a.map((row) => [0, 1, 2].map((n) => row[0] * b[0][n] + row[1] * b[1][n] + row[2] * b[2][n]));
const apply = (m, v) => m.map((row) => row[0] * v[0] + row[1] * v[1] + row[2] * v[2]);
const add = (a, b, factor = 1) => [a[0] + factor * b[0], a[1] + factor * b[1], a[2] + factor * b[2]];
const size = (v) => Math.hypot(...v);

function mix(from, to, share) {
  const parts = (colour) => [1, 3, 5].map((n) => parseInt(colour.slice(n, n + 2), 16));
  const [a, b] = [parts(from), parts(to)];
  return "#" + a.map((value, n) => Math.round(value + share * (b[n] - value)).toString(16).padStart(2, "0")).join("");
}
function errorColour(share) {
  const place = Math.max(0, Math.min(1, share || 0)) * (ERRORS.length - 1);
  const below = Math.min(ERRORS.length - 2, Math.floor(place));
  return mix(ERRORS[below], ERRORS[below + 1], place - below);
}
const short = (value) => Number(value.toPrecision(3)).toString();

// What is drawn goes through a pen, of which there are two: for the screen, and for a file.
function canvasPen(context) {
  return {
    ball(x, y, radius, colour, shaded, edge) {
      let fill = colour;
      if (shaded) {
        fill = context.createRadialGradient(x - radius / 3, y - radius / 3, radius / 10, x, y, radius);
        fill.addColorStop(0, mix(colour, "#ffffff", 0.55));
        fill.addColorStop(0.6, colour);
        fill.addColorStop(1, mix(colour, "#000000", 0.35));
      }
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fillStyle = fill;
      context.fill();
      if (edge) {
        context.lineWidth = edge.width;
        context.strokeStyle = edge.colour;
        context.stroke();
      }
    },
    line(a, b, width, colour, dashed) {
      context.beginPath();
      context.setLineDash(dashed ? [5, 4] : []);
      context.moveTo(a[0], a[1]);
      context.lineTo(b[0], b[1]);
      context.lineWidth = width;
      context.lineCap = dashed ? "butt" : "round";
      context.strokeStyle = colour;
      context.stroke();
      context.setLineDash([]);
    },
    triangle(corners, colour) {
      context.beginPath();
      corners.forEach(([x, y], n) => (n ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.fillStyle = colour;
      context.fill();
    },
    text(x, y, words, colour, ground) {
      context.font = "600 13px sans-serif";
      context.lineWidth = 4;
      context.strokeStyle = ground;
      context.strokeText(words, x, y);
      context.fillStyle = colour;
      context.fillText(words, x, y);
    },
  };
}

function svgPen(lines) {
  const shades = new Map();
  const f = (value) => value.toFixed(2);
  // #rrggbbaa is known to browsers, but not to every program that reads SVG.
  const paint = (name, colour) => {
    const [, plain, alpha] = /^(#.{6})(..)$/.exec(colour) ?? [];
    return plain ? `${name}="${plain}" ${name}-opacity="${f(parseInt(alpha, 16) / 255)}"` : `${name}="${colour}"`;
  };
  const quoted = (text) => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
  return {
    ball(x, y, radius, colour, shaded, edge) {
      if (shaded && !shades.has(colour)) {
        shades.set(colour, `shade${shades.size}`);
        const stops = [[0, mix(colour, "#ffffff", 0.55)], [0.6, colour], [1, mix(colour, "#000000", 0.35)]];
        lines.push(
          `<radialGradient id="${shades.get(colour)}" cx="0.5" cy="0.5" r="0.5" fx="0.33" fy="0.33">` +
            stops.map(([at, stop]) => `<stop offset="${at}" stop-color="${stop}"/>`).join("") + "</radialGradient>",
        );
      }
      const fill = shaded ? `fill="url(#${shades.get(colour)})"` : paint("fill", colour);
      const stroke = edge ? ` ${paint("stroke", edge.colour)} stroke-width="${edge.width}"` : "";
      lines.push(`<circle cx="${f(x)}" cy="${f(y)}" r="${f(radius)}" ${fill}${stroke}/>`);
    },
    line(a, b, width, colour, dashed) {
      const dash = dashed ? ' stroke-dasharray="5 4"' : ' stroke-linecap="round"';
      lines.push(`<line x1="${f(a[0])}" y1="${f(a[1])}" x2="${f(b[0])}" y2="${f(b[1])}" stroke="${colour}" stroke-width="${f(width)}"${dash}/>`);
    },
    triangle(corners, colour) {
      lines.push(`<polygon points="${corners.map(([x, y]) => `${f(x)},${f(y)}`).join(" ")}" fill="${colour}"/>`);
    },
    text(x, y, words, colour) {
      lines.push(`<text x="${f(x)}" y="${f(y)}" fill="${colour}" font-family="sans-serif" font-size="13" font-weight="600">${quoted(words)}</text>`);
    },
  };
}

class View {
  constructor(root) {
    this.root = root;
    this.canvas = root.querySelector("canvas");
    this.rotation = start();
    this.zoom = 1;
    this.shift = [0, 0];
    this.picked = [];
    this.spots = [];
    this.listen();
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.canvas);
  }

  control(name) {
    return this.root.querySelector(`[name="${name}"]`);
  }

  set(data) {
    const other = data.id !== this.data?.id;
    this.data = data;
    if (other) [this.zoom, this.shift, this.picked] = [1, [0, 0], []];
    const periodic = data.pbc.some(Boolean) && data.cell;
    const shown = { cell: data.cell, images: periodic, reference: data.reference, prediction: data.prediction, errors: data.errors };
    for (const [name, there] of Object.entries(shown)) {
      for (const part of this.root.querySelectorAll(`.needs-${name}`)) part.hidden = !there;
    }
    this.canvas.setAttribute("aria-label", `${data.title}. Arrow keys turn it, plus and minus zoom.`);
    this.say();
    this.draw();
  }

  // Every atom that is shown, also those of the cells beside the first.
  atoms() {
    const { positions, cell, pbc } = this.data;
    const several = cell && pbc.some(Boolean) ? Number(this.control("images").value) : 1;
    const [a, b, c] = pbc.map((periodic) => (periodic ? several : 1));
    const found = [];
    for (let i = 0; i < a; i++)
      for (let j = 0; j < b; j++)
        for (let k = 0; k < c; k++) {
          const move = cell ? add(add(add([0, 0, 0], cell[0], i), cell[1], j), cell[2], k) : [0, 0, 0];
          positions.forEach((place, index) => found.push({ index, image: [i, j, k], place: add(place, move) }));
        }
    return { found, counts: [a, b, c] };
  }

  scene(width, height) {
    const { data } = this;
    const { found, counts } = this.atoms();
    const corners = found.map((atom) => atom.place);
    if (data.cell && this.control("cell").checked)
      for (const n of [0, 1, 2, 3, 4, 5, 6, 7])
        corners.push([0, 1, 2].reduce((sum, axis) => add(sum, data.cell[axis], n & (1 << axis) ? counts[axis] : 0), [0, 0, 0]));
    const low = [0, 1, 2].map((n) => corners.reduce((least, p) => Math.min(least, p[n]), Infinity));
    const high = [0, 1, 2].map((n) => corners.reduce((most, p) => Math.max(most, p[n]), -Infinity));
    const centre = low.map((value, n) => (value + high[n]) / 2);
    const reach = corners.reduce((most, p) => Math.max(most, size(add(p, centre, -1))), 0) + 1.4;
    const scale = (this.zoom * Math.min(width, height)) / (2 * reach);
    const project = (place) => {
      const [x, y, z] = apply(this.rotation, add(place, centre, -1));
      return [width / 2 + this.shift[0] + scale * x, height / 2 + this.shift[1] - scale * y, z];
    };
    return { found, counts, project, scale };
  }

  colourOf(index) {
    const { data } = this;
    if (data.errors && this.control("colour").value === "error") return errorColour(data.errors[index] / data.error_scale);
    return data.colours[index];
  }

  paint(pen, width, height, ink) {
    const { data } = this;
    const { found, counts, project, scale } = this.scene(width, height);
    const things = [];
    const shaded = found.length <= 1500;
    this.spots = [];
    const byImage = new Map();
    found.forEach((atom) => {
      atom.at = project(atom.place);
      atom.radius = 0.45 * data.radii[atom.index] * scale;
      byImage.set([atom.index, ...atom.image].join(), atom);
      const edge = data.focus === atom.index ? { width: 3, colour: ink.accent } : { width: 0.8, colour: ink.edge };
      things.push([atom.at[2], () => pen.ball(atom.at[0], atom.at[1], atom.radius, this.colourOf(atom.index), shaded, edge)]);
      this.spots.push(atom);
    });
    if (this.control("bonds").checked) this.bonds(pen, things, byImage, found, project, scale);
    if (data.cell && this.control("cell").checked) this.cell(pen, things, counts, project, ink);
    for (const name of ["reference", "prediction"])
      if (data[name] && this.control(name).checked) this.arrows(pen, things, found, project, scale, data[name], ink[name]);
    things.sort((a, b) => a[0] - b[0]).forEach(([, paint]) => paint());
    this.measure(pen, byImage, ink);
  }

  bonds(pen, things, byImage, found, project, scale) {
    const { bonds, positions, cell } = this.data;
    const width = Math.max(1.5, 0.13 * scale);
    const neighbours = new Map();
    for (const bond of bonds) {
      if (!neighbours.has(bond[0])) neighbours.set(bond[0], []);
      neighbours.get(bond[0]).push(bond);
    }
    for (const atom of found)
      for (const [i, j, ...cells] of neighbours.get(atom.index) ?? []) {
        const delta = add(positions[j], positions[i], -1);
        const far = cell ? cells.reduce((sum, n, axis) => add(sum, cell[axis], n), delta) : delta;
        const [from, to] = [atom.at, project(add(atom.place, far, 0.5))];
        things.push([(from[2] + to[2]) / 2 - 0.2, () => pen.line(from, to, width, mix(this.colourOf(i), "#000000", 0.12))]);
      }
  }

  cell(pen, things, counts, project, ink) {
    const { cell } = this.data;
    for (let axis = 0; axis < 3; axis++) {
      const [u, v] = [(axis + 1) % 3, (axis + 2) % 3];
      for (let i = 0; i <= counts[u]; i++)
        for (let j = 0; j <= counts[v]; j++)
          for (let k = 0; k < counts[axis]; k++) {
            const from = add(add(add([0, 0, 0], cell[u], i), cell[v], j), cell[axis], k);
            const [a, b] = [project(from), project(add(from, cell[axis]))];
            things.push([(a[2] + b[2]) / 2, () => pen.line(a, b, 1, ink.cell)]);
          }
    }
  }

  arrows(pen, things, found, project, scale, vectors, colour) {
    const length = this.data.arrow_scale * Number(this.control("length").value);
    const reference = colour.reference;
    for (const atom of found) {
      const vector = vectors[atom.index];
      if (!vector || vector.some((value) => value === null) || size(vector) * length < 0.02) continue;
      const [from, to] = [atom.at, project(add(atom.place, vector, length))];
      const along = [to[0] - from[0], to[1] - from[1]];
      const reach = Math.hypot(...along);
      const width = (reference ? 0.14 : 0.08) * Math.max(scale, 14);
      things.push([Math.max(from[2], to[2]) + 0.3, () => {
        if (reach < 1) return pen.ball(to[0], to[1], width, colour.fill, false);
        const [x, y] = [along[0] / reach, along[1] / reach];
        const head = Math.min(reach, 3.2 * width);
        const neck = [to[0] - head * x, to[1] - head * y];
        pen.line(from, neck, width, colour.fill);
        pen.triangle([[to[0], to[1]], [neck[0] - 0.5 * head * y, neck[1] + 0.5 * head * x], [neck[0] + 0.5 * head * y, neck[1] - 0.5 * head * x]], colour.fill);
      }]);
    }
  }

  measure(pen, byImage, ink) {
    const atoms = this.picked.map((name) => byImage.get(name)).filter(Boolean);
    for (const atom of atoms) pen.ball(atom.at[0], atom.at[1], atom.radius + 3, "#00000000", false, { width: 2.5, colour: ink.accent });
    if (atoms.length < 2) return;
    const [a, b] = atoms;
    pen.line(a.at, b.at, 2, ink.accent, true);
    pen.text((a.at[0] + b.at[0]) / 2 + 6, (a.at[1] + b.at[1]) / 2 - 6, `${short(size(add(a.place, b.place, -1)))} Å`, ink.text, ink.ground);
  }

  ink(forPaper = false) {
    const style = getComputedStyle(this.root.host ?? this.root);
    const value = (name, light) => (forPaper ? light : style.getPropertyValue(name).trim() || light);
    const palette = value("--st-chart-categorical-colors", "#2f5fd0,#d4581c").split(",").map((colour) => colour.trim());
    return {
      text: value("--st-text-color", "#1a2233"), ground: value("--st-background-color", "#ffffff"),
      cell: value("--st-gray-text-color", "#566074"), edge: "#00000070", accent: palette[1],
      reference: { fill: palette[1], reference: true }, prediction: { fill: palette[0] },
    };
  }

  draw() {
    const { canvas } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!this.data || !width) return;
    const ratio = window.devicePixelRatio || 1;
    [canvas.width, canvas.height] = [width * ratio, height * ratio];
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const ink = this.ink();
    this.paint(canvasPen(context), width, height, ink);
    this.root.querySelector(".reference-key").style.background = ink.reference.fill;
    this.root.querySelector(".prediction-key").style.background = ink.prediction.fill;
  }

  say() {
    const { data } = this;
    const named = (name) => {
      const index = Number(name.split(",")[0]);
      const error = data.errors ? `, error ${data.errors[index] === null ? "unknown" : short(data.errors[index])} ${data.error_unit}` : "";
      return `${data.symbols[index]}, atom ${index}${error}`;
    };
    const words = this.picked.length ? this.picked.map(named) : ["Click two atoms for their distance. Drag to turn, Shift and drag to move, Ctrl and wheel to zoom."];
    if (this.picked.length === 2) {
      const { found } = this.atoms();
      const [a, b] = this.picked.map((name) => found.find((atom) => [atom.index, ...atom.image].join() === name));
      if (a && b) words.push(`${short(size(add(a.place, b.place, -1)))} Å apart`);
    }
    this.root.querySelector(".said").textContent = words.join(" · ");
  }

  pick(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.x, event.clientY - box.y];
    const hit = this.spots
      .filter((atom) => Math.hypot(atom.at[0] - x, atom.at[1] - y) <= Math.max(atom.radius, 6))
      .sort((a, b) => b.at[2] - a.at[2])[0];
    const name = hit && [hit.index, ...hit.image].join();
    this.picked = !name ? [] : this.picked.length === 1 && this.picked[0] !== name ? [this.picked[0], name] : [name];
    this.say();
    this.draw();
  }

  rotate(x, y) {
    this.rotation = multiply(multiply(turn(0, y), turn(1, x)), this.rotation);
    this.draw();
  }

  magnify(factor) {
    this.zoom = Math.max(0.2, Math.min(30, this.zoom * factor));
    this.draw();
  }

  listen() {
    const { canvas } = this;
    let last = null;
    let moved = 0;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      [last, moved] = [[event.clientX, event.clientY], 0];
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      const [x, y] = [event.clientX - last[0], event.clientY - last[1]];
      last = [event.clientX, event.clientY];
      moved += Math.abs(x) + Math.abs(y);
      if (event.shiftKey || event.buttons === 4) {
        this.shift = [this.shift[0] + x, this.shift[1] + y];
        this.draw();
      } else this.rotate(x / 120, y / 120);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (last && moved < 5) this.pick(event);
      last = null;
    });
    canvas.addEventListener("pointercancel", () => (last = null));
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
      event.preventDefault();
      this.magnify(Math.exp(-event.deltaY / 400));
    }, { passive: false });
    const keys = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] };
    canvas.addEventListener("keydown", (event) => {
      if (keys[event.key]) this.rotate(...keys[event.key]);
      else if (event.key === "+" || event.key === "=") this.magnify(1.2);
      else if (event.key === "-") this.magnify(1 / 1.2);
      else return;
      event.preventDefault();
    });
    this.root.querySelector(".tools").addEventListener("input", () => (this.say(), this.draw()));
    const actions = {
      closer: () => this.magnify(1.3),
      farther: () => this.magnify(1 / 1.3),
      reset: () => ([this.rotation, this.zoom, this.shift] = [start(), 1, [0, 0]]) && this.draw(),
      svg: () => this.save("svg"),
      png: () => this.save("png"),
    };
    this.root.querySelector(".tools").addEventListener("click", (event) => {
      const name = event.target.closest("button")?.name;
      if (name && Object.hasOwn(actions, name)) actions[name]();
    });
  }

  // For paper: light colours, an opaque ground, and the size that pictures have on this page.
  save(format) {
    const { picture, name } = this.data;
    const width = picture.width ?? this.canvas.clientWidth;
    const height = picture.height ?? this.canvas.clientHeight;
    const hand = (blob) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = `${name}.${format}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    };
    if (format === "svg") {
      const lines = [`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`, '<rect width="100%" height="100%" fill="#ffffff"/>'];
      this.paint(svgPen(lines), width, height, this.ink(true));
      hand(new Blob([[...lines, "</svg>"].join("\n")], { type: "image/svg+xml" }));
    } else {
      const sheet = document.createElement("canvas");
      [sheet.width, sheet.height] = [width * picture.scale, height * picture.scale];
      const context = sheet.getContext("2d");
      context.scale(picture.scale, picture.scale);
      context.fillStyle = "#ffffff";
      context.fillRect(0, 0, width, height);
      this.paint(canvasPen(context), width, height, this.ink(true));
      sheet.toBlob(hand);
    }
    this.draw();
  }
}

export default function ({ data, parentElement }) {
  if (!views.has(parentElement)) views.set(parentElement, new View(parentElement));
  views.get(parentElement).set(data);
  return () => {
    views.get(parentElement)?.observer.disconnect();
    views.delete(parentElement);
  };
}
