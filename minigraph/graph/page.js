// Draws the graph of the page and plays its steps. Texts of the data become text nodes, never HTML.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const { vertices, groups, steps, held } = data;
const byId = (id) => document.getElementById(id);
const open = new Set(data.open);
const view = { x: 0, y: 0, scale: 1 };
let at = 0; // the number of steps that are done; 0 shows the whole graph, with all results
let pinned = null; // the name of a box: "v" and the index of a vertex, or "g" and that of a group
let hovered = null;

const HEAD = 28; // of a frame: the line with its title
const PAD = 14;
const MOVING = new Set(["operation", "input"]); // what flows from operation to operation
const READABLE = 0.8; // the least scale at which a page begins

// ------------------------------------------------------------------ texts and elements

function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** JSON has no infinities and no NaN; the data have words for them. */
function finite(x) {
  return typeof x === "number" ? x : { inf: Infinity, "-inf": -Infinity }[x] ?? NaN;
}

function number(x, digits = 4) {
  if (!Number.isFinite(finite(x))) return String(x).replace("Infinity", "inf").replace("-", "−").toLowerCase();
  const size = Math.abs(x);
  const text = size !== 0 && (size >= 1e6 || size < 1e-4) ? x.toExponential(2) : String(Number(x.toPrecision(digits)));
  return text.replace("-", "−").replace("e+", "e");
}

function quantity(n, unit) {
  for (const [factor, prefix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (n >= factor) return `${Number((n / factor).toPrecision(3))} ${prefix}${unit}`;
  }
  return `${Number(n.toPrecision(3))} ${unit}`;
}

function seconds(s) {
  return s >= 1 ? `${number(s, 3)} s` : s >= 1e-3 ? `${number(s * 1e3, 3)} ms` : `${number(s * 1e6, 3)} µs`;
}

function plural(n, word) {
  return `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
}

function described(v) {
  const shape = v.shape || [];
  return `${v.dtype} (${shape.join(", ")}${shape.length === 1 ? "," : ""})`;
}

/** What a vertex is called in a text: by its title, and an operation also by its line. */
function called(i) {
  const v = vertices[i];
  if (v.name) return `${v.title} ${v.name}`;
  return (v.title || v.note || v.kind) + (v.kind === "operation" && v.call ? `, line ${v.call[1]}` : "");
}

// ------------------------------------------------------------------ the structure

const isGroup = (name) => name[0] === "g";
const index = (name) => Number(name.slice(1));
const parents = new Map(); // the group around each box
groups.forEach((group, g) => group.children.forEach((child) => parents.set(child, g)));

/** The vertex that shows vertex i: itself, or its counterpart in the first repetition of a run; or null. */
function shownBy(i) {
  const shown = vertices[i].shown ?? i;
  return parents.has(`v${shown}`) ? shown : null;
}

/** The groups around a box, the outermost first. */
function around(name) {
  const path = [];
  for (let g = parents.get(name); g !== undefined; g = parents.get(`g${g}`)) path.unshift(g);
  return path;
}

/** The box in which vertex i is seen now: its own, or that of the outermost folded group around it; or null. */
function seen(i) {
  const shown = shownBy(i);
  if (shown === null) return null;
  const folded = around(`v${shown}`).find((g) => !open.has(g));
  return folded === undefined ? `v${shown}` : `g${folded}`;
}

/** The pieces of the edge between two shown vertices, as (group, tail, head): see `nested.py`. */
function pieces(source, target) {
  const outward = around(`v${source}`);
  const inward = around(`v${target}`);
  let common = 0;
  while (common < outward.length && outward[common] === inward[common]) common += 1;
  const tails = [...outward.slice(common).map((g) => `g${g}`), `v${source}`];
  const heads = [...inward.slice(common).map((g) => `g${g}`), `v${target}`];
  const found = [[outward[common - 1], tails[0], heads[0]]];
  outward.slice(common).forEach((g, k) => found.push([g, tails[k + 1], `o${source}`]));
  inward.slice(common).forEach((g, k) => found.push([g, `i${source}`, heads[k + 1]]));
  return found.map(([g, tail, head]) => `${g} ${source} ${tail} ${head}`);
}

const piecesAt = new Map(); // of the edges of each shown vertex
const repeats = new Map(); // the vertices that each shown vertex stands for, in order
const linked = new Set(); // pairs of vertices
vertices.forEach((v, i) => {
  const target = shownBy(i);
  if (target === null) return;
  if (!repeats.has(target)) repeats.set(target, []);
  repeats.get(target).push(i);
  for (const [from] of v.inputs || []) {
    const source = shownBy(from);
    const pair = `${source} ${target}`;
    if (source === null || source === target || linked.has(pair)) continue;
    linked.add(pair);
    for (const end of [source, target]) {
      if (!piecesAt.has(end)) piecesAt.set(end, []);
      piecesAt.get(end).push(...pieces(source, target));
    }
  }
});

// When what happens to each vertex, by the number of the step (the first step is 1).
const ranAt = new Map();
const ruleAt = new Map();
const added = new Map(); // to the gradient of each vertex: [step, number, the vertex whose rule added it]
const lastForward = steps.filter((step) => step.kind === "forward").length;
steps.forEach((step, k) => {
  const note = (i, x) => added.set(i, [...(added.get(i) || []), [k + 1, x, step.at]]);
  if (step.kind === "forward") ranAt.set(step.at, k + 1);
  if (step.kind === "backward") ruleAt.set(step.at, k + 1);
  if (step.kind === "begin") note(vertices[step.at].inputs[0][0], 1);
  for (const [i, x] of step.adds || []) note(i, finite(x));
});

/** Which of the vertices that a shown vertex stands for it shows now: the one that a step has reached last. */
function current(shown) {
  const all = repeats.get(shown) || [shown];
  if (at === 0 || all.length === 1) return all[0];
  const reached = (when, i) => when.get(i) !== undefined && when.get(i) <= at;
  const hasGradient = (i) => added.has(i) && added.get(i)[0][0] <= at;
  if (at > lastForward) return all.find((i) => hasGradient(i) || reached(ruleAt, i)) ?? all[all.length - 1];
  return all.findLast((i) => reached(ranAt, i)) ?? all[0];
}

/** What has been added to the gradient of vertex i up to now; null before anything is. */
function gradientNow(i) {
  const known = vertices[i].gradient;
  if (at === 0) return known ?? null;
  const so_far = (added.get(i) || []).filter(([step]) => step <= at);
  if (so_far.length === 0) return null;
  if (so_far.length === added.get(i).length || !known) return known ?? null;
  if ("value" in known) return { value: so_far.reduce((sum, [, x]) => sum + x, 0) };
  return { ...known, partial: true };
}

function valueNow(i) {
  const waits = ranAt.has(i) && at > 0 && ranAt.get(i) > at;
  return waits ? null : vertices[i].values ?? null;
}

// ------------------------------------------------------------------ places

/** Linear between the knots [from, to], and of slope 1 beyond them. */
function through(knots) {
  return (x) => {
    if (x <= knots[0][0]) return knots[0][1] + x - knots[0][0];
    for (let k = 1; k < knots.length; k += 1) {
      const [a, A] = knots[k - 1];
      const [b, B] = knots[k];
      if (x <= b) return b > a ? A + ((x - a) * (B - A)) / (b - a) : B;
    }
    const [b, B] = knots[knots.length - 1];
    return B + x - b;
  };
}

/** Where a curve crosses the height y. */
function crossings(points, y) {
  const found = [];
  for (let k = 0; k + 7 < points.length; k += 6) {
    let before = [points[k], points[k + 1]];
    for (let n = 1; n <= 4; n += 1) {
      const t = n / 4;
      const s = 1 - t;
      const now = [0, 1].map((d) => s ** 3 * points[k + d] + 3 * s * s * t * points[k + 2 + d]
        + 3 * s * t * t * points[k + 4 + d] + t ** 3 * points[k + 6 + d]);
      if ((before[1] - y) * (now[1] - y) < 0) {
        found.push(before[0] + ((now[0] - before[0]) * (y - before[1])) / (now[1] - before[1]));
      }
      before = now;
    }
  }
  return found;
}

/**
 * The places of everything in group g, as it is unfolded now, from the upper left corner of its inside.
 *
 * Graphviz has placed the children with folded groups. Where one is unfolded, the ranks below it move down, and what
 * stands beside it, boxes and passing edges, moves aside. Both maps keep the order, so nothing comes to overlap.
 */
function place(g) {
  if (scenes.has(g)) return scenes.get(g);
  const group = groups[g];
  const boxes = new Map();
  for (const name of group.children) {
    const inside = isGroup(name) && open.has(index(name)) ? place(index(name)) : null;
    const [width, height] = isGroup(name) ? groups[index(name)].box : vertices[index(name)].box;
    const [x, y] = group.at[name];
    boxes.set(name, {
      name, inside, oldX: x, oldY: y, width, height,
      left: inside ? inside.anchor : width / 2, // from x to the left side, and to the right side
      right: inside ? inside.w - inside.anchor : width / 2,
      h: inside ? inside.h : height,
    });
  }

  // Heights: each rank grows by what its largest box needs.
  const ranks = new Map();
  for (const box of boxes.values()) {
    const key = Math.round(box.oldY);
    ranks.set(key, [...(ranks.get(key) || []), box]);
  }
  const heights = [[0, 0]];
  let shift = 0;
  const rows = [...ranks.keys()].sort((a, b) => a - b).map((key) => ranks.get(key));
  for (const row of rows) {
    const y = row[0].oldY;
    const old = Math.max(...row.map((box) => box.height));
    heights.push([y - old / 2, y - old / 2 + shift]);
    shift += Math.max(0, Math.max(...row.map((box) => box.h)) - old);
    heights.push([y + old / 2, y + old / 2 + shift]);
  }
  const down = through(heights);

  // Widths: the smallest map that keeps the distances within each rank that has grown.
  const bounds = []; // [from, to, the least distance]
  const grown = (box) => [box.left, box.right].map((side) => Math.max(0, side - box.width / 2));
  const columns = new Set([0]);
  for (const box of boxes.values()) {
    columns.add(box.oldX);
    bounds.push([0, box.oldX, box.oldX + grown(box)[0]]);
  }
  for (const row of rows.filter((one) => one.some((box) => box.inside))) {
    const items = row.map((box) => [box.oldX, ...grown(box)]);
    for (const [, tail, head, points] of group.edges) {
      if (row.some((box) => box.name === tail || box.name === head)) continue;
      const half = Math.max(...row.map((box) => box.height)) / 2;
      for (const share of [-1, -0.5, 0, 0.5, 1]) { // an edge that leans must pass beside the whole height
        for (const x of crossings(points, row[0].oldY + share * half)) items.push([x, 0, 0]);
      }
    }
    items.sort((a, b) => a[0] - b[0]);
    for (let k = 0; k < items.length; k += 1) {
      columns.add(items[k][0]);
      const [x, toTheLeft] = items[k];
      if (k > 0) bounds.push([items[k - 1][0], x, x - items[k - 1][0] + toTheLeft + items[k - 1][2]]);
    }
  }
  const ending = new Map();
  for (const bound of bounds) ending.set(bound[1], [...(ending.get(bound[1]) || []), bound]);
  const moved = new Map();
  let before = null;
  for (const x of [...columns].sort((a, b) => a - b)) {
    let to = before === null ? x : moved.get(before) + x - before;
    for (const [from, , least] of ending.get(x) || []) {
      if (moved.has(from)) to = Math.max(to, moved.get(from) + least);
    }
    moved.set(x, to);
    before = x;
  }
  const across = through([...moved]);

  const right = group.size[0];
  let w = across(right);
  for (const box of boxes.values()) {
    box.x = across(box.oldX);
    box.y = down(box.oldY);
    w = Math.max(w, box.x + box.right + Math.max(0, right - box.oldX - box.width / 2));
  }
  const h = down(group.size[1]);
  const frame = g === 0 ? { left: PAD, top: PAD } : { left: PAD, top: HEAD + 4 };
  const scene = { g, boxes, w: w + 2 * PAD, h: h + frame.top + PAD, ...frame };
  scene.port = (name) => across(group.at[name][0]);
  const ports = Object.keys(group.at).filter((name) => name[0] === "i" || name[0] === "o");
  const main = ports.findLast((name) => name[0] === "i" && MOVING.has(vertices[index(name)].kind)) ?? ports.at(-1);
  scene.anchor = main ? scene.left + scene.port(main) : scene.w / 2; // so that the main edge comes in straight
  scene.edges = group.edges.map(([source, tail, head, points, style]) => ({
    key: `${g} ${source} ${tail} ${head}`,
    style,
    tail,
    head,
    inner: head[0] === "o" || Boolean(boxes.get(head)?.inside),
    inside: tail[0] === "i" || Boolean(boxes.get(tail)?.inside),
    d: curve(points.map((n, i) => (i % 2 ? down(n) : across(n))), points, source, tail, head, scene, h),
  }));
  scenes.set(g, scene);
  return scene;
}

const scenes = new Map(); // of the groups that have not changed since they were placed

/** The path of an edge: the mapped curve, with its ends on the boxes, or on the ports of frames. */
function curve(mapped, old, source, tail, head, scene, h) {
  const { boxes } = scene;
  const n = mapped.length;
  const set = (i, x, y) => { mapped[i] = x; mapped[i + 1] = y; };
  const end = (name, atEnd) => {
    const [i, c] = atEnd ? [n - 2, n - 4] : [0, 2]; // the end point, and the control point beside it
    const away = atEnd ? -1 : 1;
    const box = boxes.get(name);
    if (box?.inside) {
      const x = box.x - box.left + box.inside.left + box.inside.port(`${atEnd ? "i" : "o"}${source}`);
      const y = box.y - (away * -1 * box.h) / 2;
      set(i, x, y);
      set(c, x, y + away * 22);
    } else if (box) {
      const dx = box.x - box.oldX;
      const dy = box.y - box.oldY;
      set(i, old[i] + dx, old[i + 1] + dy);
      set(c, old[c] + dx, old[c + 1] + dy);
    }
  };
  end(tail, false);
  end(head, true);
  const text = (i) => `${mapped[i].toFixed(1)},${mapped[i + 1].toFixed(1)}`;
  let d = `M${text(0)}`;
  if (tail[0] === "i") d = `M${mapped[0].toFixed(1)},${-scene.top} L${text(0)}`;
  for (let i = 2; i + 5 < n + 1; i += 6) d += ` C${text(i)} ${text(i + 2)} ${text(i + 4)}`;
  if (head[0] === "o") d += ` L${mapped[n - 2].toFixed(1)},${(h + PAD).toFixed(1)}`;
  return d;
}

// ------------------------------------------------------------------ drawing

const elements = new Map(); // of vertices and folded groups, by name
const parts = new Map(); // of unfolded groups: the frame, the edges inside it, and its boxes and inner parts
const edgeElements = new Map();
const cells = new Map(); // the two cells for value and gradient in the box of a vertex
let scene = null;
let placed = new Map(); // the middle and the size of each box and frame that is seen

/** Show the groups as they are unfolded now. What stays where it is in its group is not touched. */
function draw() {
  scene = place(0);
  placed = new Map();
  const locate = (part, left, top) => {
    for (const box of part.boxes.values()) {
      const [x, y, w] = [left + box.x + (box.right - box.left) / 2, top + box.y, box.left + box.right];
      placed.set(box.name, { x, y, w, h: box.h });
      if (box.inside) locate(box.inside, x - w / 2 + box.inside.left, y - box.h / 2 + box.inside.top);
    }
  };
  locate(scene, scene.left, scene.top);
  byId("graph").classList.toggle("still", placed.size > 150); // too many to move smoothly
  const root = partOf(scene);
  if (!root.isConnected) byId("world").append(root);
  byId("unfold").disabled = open.size === groups.length;
  byId("fold").disabled = open.size === 1;
  show();
}

/** The element of an unfolded group, whose origin is its upper left corner. */
function partOf(inside) {
  const { g } = inside;
  if (!parts.has(g)) {
    const layers = [svg("g"), svg("g")]; // edges, and over them boxes
    const frame = g === 0 ? null : frameOf(g);
    parts.set(g, { root: svg("g", { class: "part" }, frame, ...layers), frame, layers, scene: null });
  }
  const part = parts.get(g);
  if (part.scene === inside) return part.root;
  part.scene = inside;
  if (part.frame) resize(part.frame, inside.w, inside.h);
  const [edges, boxes] = part.layers;
  for (const layer of part.layers) move(layer, inside.left, inside.top);
  const wanted = [...inside.boxes.values()].map((box) => {
    if (!box.inside && !elements.has(box.name)) elements.set(box.name, boxOf(box.name));
    const node = box.inside ? partOf(box.inside) : elements.get(box.name);
    move(node, box.inside ? box.x - box.left : box.x, box.inside ? box.y - box.h / 2 : box.y);
    return node;
  });
  for (const node of [...boxes.children]) if (!wanted.includes(node)) node.remove();
  wanted.forEach((node, k) => { if (boxes.children[k] !== node) boxes.insertBefore(node, boxes.children[k] ?? null); });
  for (const edge of inside.edges) {
    if (!edgeElements.has(edge.key)) edgeElements.set(edge.key, edges.appendChild(svg("path")));
    const path = edgeElements.get(edge.key);
    if (path.getAttribute("d") !== edge.d) path.setAttribute("d", edge.d);
    const classes = ["edge", edge.style, edge.inner && "inner", edge.inside && "starts-inside"];
    path.setAttribute("class", classes.filter(Boolean).join(" "));
  }
  return part.root;
}

function move(node, x, y) {
  const to = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`;
  if (node.style.transform !== to) node.style.transform = to;
}

/** A box of its own: a vertex, or a folded group. */
function boxOf(name) {
  const group = isGroup(name) ? groups[index(name)] : null;
  const v = group ? null : vertices[index(name)];
  const [w, h] = (group || v).box;
  const order = (group || v).order || 0;
  const classes = ["node", group ? "group" : v.kind];
  if (order && (group || v.kind === "operation")) classes.push(order > 1 ? "second" : "first");
  const round = { group: 9, operation: 7, input: 16, output: Math.min(h / 2, 16) }[group ? "group" : v.kind] ?? 2;
  const shape = { x: -w / 2, y: -h / 2, width: w, height: h, rx: round };
  const node = svg("g", { class: classes.join(" "), tabindex: 0, role: "button", "data-name": name });
  if (group) node.append(svg("rect", { ...shape, x: -w / 2 + 4, y: -h / 2 + 4, class: "below" }));
  node.append(svg("rect", { ...shape, class: "halo" }), svg("rect", { ...shape, class: "edge-of-box" }));
  if (v && v.kind === "output" && !v.shape) { // a single number, as a loss is, has two lines around it
    const inner = { x: 3.5 - w / 2, y: 3.5 - h / 2, width: w - 7, height: h - 7, rx: round - 3 };
    node.append(svg("rect", { ...inner, class: "edge-of-box" }));
  }
  const title = (group || v).title || "";
  const lines = (group || v).lines || [];
  const row = v && v.cell ? v.cell : 0;
  let y = -h / 2 + (title ? 19 : 3);
  if (!row) y = -(14 * lines.length + (title ? 17 : 0)) / 2 + (title ? 13 : -3);
  if (title) node.append(svg("text", { y, class: "title" }, title));
  lines.forEach((line, k) => node.append(svg("text", { y: y + 14.5 * (k + 1), class: "line" }, line)));
  if (row) {
    const [dx, dy] = [(w - 12) / 4, h / 2 - row / 2 - 6];
    const pair = [-dx, dx].map((x) => svg("g", { transform: `translate(${x} ${dy})` }));
    cells.set(name, { pair, width: 2 * dx - 3, height: row });
    node.append(...pair);
  }
  if (group) node.append(sign(w / 2 - 11, -h / 2 + 11, true));
  const what = group ? `group ${title}, folded` : `${title} ${lines.join(", ")}`;
  node.setAttribute("aria-label", what);
  if (group) node.setAttribute("aria-expanded", "false");
  return node;
}

/** The frame of an unfolded group. */
function frameOf(g) {
  const group = groups[g];
  const node = svg("g", {
    class: `frame${group.times > 1 ? " run" : ""}`, tabindex: 0, role: "button", "data-name": `f${g}`,
    "aria-expanded": "true", "aria-label": `group ${group.title}, unfolded`,
  });
  node.append(svg("rect", { class: "edge-of-frame", rx: 9 }), svg("rect", { class: "hit", height: HEAD }));
  node.append(svg("text", { class: "title", x: 28, y: 19 }, group.title), sign(15, 14.5, false));
  return node;
}

function resize(node, w, h) {
  const [outline, hit] = node.children;
  outline.setAttribute("width", w);
  outline.setAttribute("height", h);
  hit.setAttribute("width", w);
}

/** A plus or a minus. */
function sign(x, y, plus) {
  return svg("path", { class: "sign", d: `M${x - 4},${y} h8${plus ? ` M${x},${y - 4} v8` : ""}` });
}

/** The bars of a histogram as one path, on the line y, in a box of this width and height. */
function bars(counts, x, y, width, height) {
  const most = Math.max(...counts, 1);
  const step = width / counts.length;
  let d = "";
  counts.forEach((count, k) => {
    const tall = count ? Math.max((height * count) / most, 0.8) : 0;
    const [left, up, wide] = [x + k * step, tall, step * 0.86].map((n) => n.toFixed(1));
    if (tall) d += `M${left},${y} v-${up} h${wide} v${up} z`;
  });
  return d;
}

/** Put a value, or a gradient, into its cell: a number as a number, an array as a small histogram. */
function fill(cell, what, s, width, height) {
  const key = s === null ? "" : JSON.stringify(s.value ?? s.counts) + (s.partial ? "+" : "");
  if (cell.dataset.key === key) return;
  cell.dataset.key = key;
  const of = what === "gradient" ? " of-gradient" : "";
  const parts = [];
  if (s !== null) {
    parts.push(svg("rect", { class: what, x: -width / 2, y: -height / 2, width, height, rx: 4 }));
    if ("value" in s) {
      parts.push(svg("text", { class: `number${of}`, y: data.scalar ? 12 : 4 }, number(s.value, data.scalar ? 5 : 3)));
    } else if (s.counts.length) {
      const d = bars(s.counts, -width / 2 + 3, height / 2 - 1, width - 6, height - 3);
      parts.push(svg("path", { class: `spark${of}`, d, opacity: s.partial ? 0.5 : 1 }));
    }
  }
  if (data.scalar && s !== null) parts.push(svg("text", { class: "caption", y: -height / 2 + 10 }, what));
  cell.replaceChildren(...parts);
}

// ------------------------------------------------------------------ what the boxes show at a step

function show() {
  const step = at > 0 ? steps[at - 1] : null;
  const now = step && (step.kind === "begin" ? vertices[step.at].inputs[0][0] : step.at);
  const backward = at > lastForward;
  const nowIn = step && seen(now);
  const gets = new Set();
  const flow = new Map();
  if (step) {
    const source = shownBy(step.at);
    const ends = step.kind === "forward" ? vertices[step.at].inputs : step.adds;
    for (const [i] of ends || []) {
      const end = shownBy(i);
      if (backward && seen(i)) gets.add(seen(i));
      if (end !== null && source !== null && end !== source) pieces(end, source).forEach((key) => flow.set(key, true));
    }
    if (step.kind === "begin") pieces(shownBy(now), source).forEach((key) => flow.set(key, true));
  }
  for (const [name, { pair, width, height }] of cells) {
    if (!placed.has(name)) continue;
    const i = current(index(name));
    fill(pair[0], "value", valueNow(i), width, height);
    fill(pair[1], "gradient", gradientNow(i), width, height);
  }
  const near = new Set(hovered || pinned ? boxPieces(hovered || pinned) : []);
  for (const [name, node] of elements) {
    if (!node.isConnected) continue;
    const state = stateOf(name);
    const classes = { ...state, now: name === nowIn, backward, gets: gets.has(name), pinned: name === pinned };
    for (const [key, value] of Object.entries(classes)) node.classList.toggle(key, Boolean(value));
  }
  for (const [key, path] of edgeElements) {
    path.classList.toggle("flow", flow.has(key));
    path.classList.toggle("up", backward);
    path.classList.toggle("near", near.has(key));
  }
  tellStep(step);
  tellBox();
  player();
}

/** Whether a box waits for its operation, has a gradient, and is freed. */
function stateOf(name) {
  if (at === 0) return { before: false, reached: false, freed: false };
  const group = isGroup(name);
  const inside = group ? membersOf(index(name)) : [current(index(name))];
  const ran = inside.some((i) => !ranAt.has(i) || ranAt.get(i) <= at);
  const computes = group || vertices[inside[0]].kind === "operation";
  const rules = inside.filter((i) => ruleAt.has(i));
  const output = !group && vertices[inside[0]].kind === "output" && ranAt.get(vertices[inside[0]].inputs[0][0]) > at;
  return {
    before: (computes && !inside.some((i) => ranAt.has(i) && ranAt.get(i) <= at)) || !ran || output,
    reached: inside.some((i) => (added.get(i) || []).some(([k]) => k <= at)),
    freed: rules.length > 0 && rules.every((i) => ruleAt.get(i) <= at),
  };
}

const membersCache = new Map();

/** All vertices in a group, those of repetitions too. */
function membersOf(g) {
  if (!membersCache.has(g)) {
    membersCache.set(g, groups[g].children.flatMap((name) =>
      isGroup(name) ? membersOf(index(name)) : repeats.get(index(name)) || [index(name)]));
  }
  return membersCache.get(g);
}

function boxPieces(name) {
  if (!isGroup(name)) return piecesAt.get(index(name)) || [];
  return membersOf(index(name)).flatMap((i) => piecesAt.get(i) || []);
}

// ------------------------------------------------------------------ what the panel says

function link(i) {
  if (shownBy(i) === null) return element("span", {}, called(i));
  const button = element("button", { class: "link" }, called(i));
  button.addEventListener("click", () => { pinned = seen(i); show(); glide(pinned); });
  button.addEventListener("pointerenter", () => { hovered = seen(i); show(); });
  button.addEventListener("pointerleave", () => { hovered = null; show(); });
  return button;
}

function statistic(s) {
  if (s === null || s === undefined) return "not known";
  return "value" in s ? number(s.value, 6) : `norm ${number(s.norm)}`;
}

let told = null;

function tellStep(step) {
  if (told === at) return;
  told = at;
  byId("step").replaceChildren(...(step === null ? introduction() : step.kind === "forward" ? tellForward(step)
    : step.kind === "begin" ? tellBegin(step) : tellBackward(step)));
}

function introduction() {
  const present = new Set(vertices.map((v) => v.kind));
  const kinds = ["input", "parameter", "state", "constant", "output"].filter((kind) => present.has(kind));
  const colours = kinds.map((kind) => [kind, `${kind}-line`, kind === "output" ? "result" : kind]);
  const shown = data.scalar ? "the" : "histogram of the";
  colours.push(["forward-soft", "forward", `${shown} value`], ["backward-soft", "backward", `${shown} gradient`]);
  const swatches = colours.map(([fillOf, lineOf, text]) => [
    element("i", { style: `background:var(--${fillOf});border-color:var(--${lineOf})` }), element("span", {}, text)]);
  const keys = element("p", { class: "faint" });
  for (const text of ["space play", "← → step", "+ − zoom", "0 fit"]) {
    const words = text.split(" ");
    keys.append(...words.slice(0, -1).map((key) => element("kbd", {}, key)), ` ${words.at(-1)} `);
  }
  return [
    element("h2", {}, "Backprop, watched"),
    element("p", {}, `Press play: ${plural(lastForward, "operation")} forward, then the walk of the gradient back `
      + `through ${plural(steps.length - lastForward, "step")}.`),
    keys,
    element("div", { class: "swatches" }, ...swatches.flat()),
    element("p", { class: "faint" }, groups.length > 1 ? "Click a group to unfold or fold it. Hover a box to read it; "
      + "click it to keep it here." : "Hover a box to read it; click it to keep it here."),
  ];
}

function strong(text, what = "gradient") {
  return element("b", { class: what }, text);
}

function phase(text, backward) {
  return element("p", { class: `phase${backward ? " backward" : ""}` }, `step ${at} of ${steps.length} · ${text}`);
}

function repetition(i) {
  const shown = shownBy(i);
  const all = shown === null ? [] : repeats.get(shown) || [];
  return all.length > 1 ? [element("p", { class: "faint" }, `repetition ${all.indexOf(i) + 1} of ${all.length}`)] : [];
}

function tellForward(step) {
  const v = vertices[step.at];
  const inputs = (v.inputs || []).map(([i, role]) =>
    element("li", {}, role ? `${role}: ` : "", link(i), ` — ${statistic(vertices[i].values)}`));
  return [
    phase("forward", false),
    element("h2", {}, v.title),
    ...repetition(step.at),
    ...formula(v),
    element("h3", {}, "from"), element("ul", {}, ...inputs),
    element("p", {}, "result: ", element("b", {}, statistic(v.values)), ` — ${described(v)}`),
    element("p", {}, `keeps ${v.saved ? quantity(v.saved, "B") : "nothing more"} for the backward pass`),
    ...source(v),
  ];
}

function tellBegin(step) {
  const v = vertices[step.at];
  return [
    phase("the walk begins", true),
    element("h2", {}, `gradient of ${v.title}`),
    element("p", {}, v.shape ? "Each entry has the gradient 1: what follows are gradients of the sum of all entries."
      : "The gradient of the result in itself is 1."),
    element("p", {}, "It arrives at ", link(v.inputs[0][0]), "."),
  ];
}

function tellBackward(step) {
  const v = vertices[step.at];
  const adds = step.adds.map(([i, x], n) => {
    const scalar = vertices[i].shape === undefined;
    const sameStep = step.adds.slice(0, n).filter(([j]) => j === i).map(([, y]) => [at, y]);
    const before = [...added.get(i).filter(([k]) => k < at), ...sameStep];
    const item = element("li", {}, link(i), ": ", strong(scalar ? number(x, 6) : `norm ${number(x)}`));
    if (scalar && before.length) {
      item.append(`, which makes ${number(before.reduce((sum, [, y]) => sum + y, 0) + x, 6)}`);
    } else if (before.length) {
      item.append(`, to what ${plural(before.length, "other use")} gave`);
    }
    return item;
  });
  const rule = data.rules[v.op];
  return [
    phase("backward", true),
    element("h2", {}, `the rule of ${v.title}`),
    ...repetition(step.at),
    element("p", {}, "gradient that arrives: ", strong(statistic(v.gradient)), ` — ${described(v)}`),
    ...formula(v),
    ...written(v, rule),
    element("h3", {}, adds.length ? "it is added to the gradient of" : "it is added to nothing"),
    element("ul", {}, ...adds),
    element("p", {}, `freed: ${v.saved ? `${quantity(v.saved, "B")} that were kept, and ` : ""}`
      + `the gradient that arrived, ${quantity(step.freed - (v.saved || 0), "B")}`),
    ...source(v),
  ];
}

/** The rule as mathematics and as code; below it the numbers, where all operands are numbers with a name. */
function written(v, rule) {
  if (!rule.source) return [];
  const code = [
    element("h3", {}, `${rule.where}: g is what arrives`),
    ...(rule.pulls ? [element("p", { class: "formula" }, rule.pulls)] : []),
    element("pre", {}, rule.source),
  ];
  const inputs = v.inputs || [];
  if (!data.scalar || !v.gradient || rule.names.length !== inputs.length) return code;
  const pairs = [["g", v.gradient], ...inputs.map(([i], k) => [rule.names[k], vertices[i].values]), ["y", v.values]];
  const numbers = pairs.filter(([, s]) => s && "value" in s).map(([name, s]) => `${name} = ${number(s.value, 6)}`);
  return [...code, element("p", { class: "faint" }, numbers.join(", "))];
}

function formula(v) {
  const { says } = data.rules[v.op];
  return says ? [element("p", { class: "formula" }, says)] : [];
}

function source(v) {
  if (!v.call) return [];
  const [file, line, where, text] = v.call;
  const path = data.files[file];
  return [
    element("h3", {}, `${path.split(/[\\/]/).pop()}, line ${line}, in ${where}`),
    ...(text ? [element("pre", { title: path }, text)] : []),
  ];
}

let toldBox = "";

function tellBox() {
  const step = at > 0 ? steps[at - 1] : null;
  const name = hovered || pinned || (step && seen(step.at));
  const key = `${name} ${at} ${open.size}`;
  if (key === toldBox) return;
  toldBox = key;
  const place_ = byId("about");
  if (!name) place_.replaceChildren();
  else place_.replaceChildren(...(isGroup(name) ? aboutGroup(index(name)) : aboutVertex(current(index(name)))));
}

function aboutGroup(g) {
  const group = groups[g];
  return [element("h2", {}, group.title), ...group.lines.map((line) => element("p", {}, line))];
}

function aboutVertex(i) {
  const v = vertices[i];
  const rows = [["kind", v.kind === "operation" && v.order ? "operation of a backward pass" : v.kind]];
  const add = (name, text) => { if (text) rows.push([name, text]); };
  add("name", v.name);
  add("arguments", v.note);
  add("array", described(v));
  add("group", (v.scope || []).join(" / "));
  add("kept", v.saved && `${quantity(v.saved, "B")} for the backward pass`);
  add("arithmetic", v.flops && quantity(v.flops, "FLOP"));
  add("time", v.seconds && `${seconds(v.seconds)}${v.rule ? `, its rule ${seconds(v.rule)}` : ""}`);
  const gradient = gradientNow(i);
  return [
    element("h2", {}, v.title || v.note || v.kind),
    ...repetition(i),
    element("dl", {}, ...rows.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)])),
    ...histogram("value", valueNow(i)),
    ...histogram("gradient", gradient),
    ...(at > 0 && steps[at - 1].at === i ? [] : source(v)),
  ];
}

function histogram(what, s) {
  if (s === null) return [];
  const heading = element("h3", {}, what + (s.partial ? ", when all of it has arrived" : ""));
  if ("value" in s) return [heading, element("p", {}, strong(number(s.value, 6), what))];
  const width = 300;
  const height = 62;
  const picture = svg("svg", { class: `histogram ${what}`, viewBox: `0 0 ${width} ${height + 14}`, role: "img",
    "aria-label": `histogram of the ${what}, from ${number(s.min)} to ${number(s.max)}` });
  if (s.counts.length) picture.append(svg("path", { d: bars(s.counts, 0, height, width, height - 4) }));
  picture.append(svg("line", { x1: 0, x2: width, y1: height, y2: height }));
  if (s.max > s.min) {
    const x = ((s.mean - s.min) / (s.max - s.min)) * width;
    picture.append(svg("line", { class: "mean", x1: x, x2: x, y1: 2, y2: height }));
  }
  picture.append(svg("text", { x: 0, y: height + 11 }, number(s.min)),
    svg("text", { x: width, y: height + 11, "text-anchor": "end" }, number(s.max)));
  const facts = `mean ${number(s.mean)}, std ${number(s.std)}, norm ${number(s.norm)}`
    + (s.zeros ? `, zeros ${number(100 * s.zeros, 3)}%` : "");
  const warning = s.bad ? element("p", { class: "bad" }, `not finite: ${plural(s.bad, "number")}`) : "";
  return [heading, picture, element("p", { class: "faint" }, facts), warning];
}

// ------------------------------------------------------------------ the player

let timer = null;

function go(to, follow = true) {
  at = Math.max(0, Math.min(steps.length, to));
  show();
  if (follow && at > 0) glide(seen(steps[at - 1].at), true);
}

function play(on) {
  clearTimeout(timer);
  timer = null;
  if (on) {
    if (at === steps.length) go(0);
    const tick = () => {
      go(at + 1);
      if (at === steps.length) play(false);
      else timer = setTimeout(tick, 1100 / Number(byId("speed").value));
    };
    timer = setTimeout(tick, 60);
  }
  byId("play").querySelector("path").setAttribute("d", on ? "M5 3v10M11 3v10" : "M5 3v10l8-5z");
  byId("play").setAttribute("aria-label", on ? "pause" : "play");
}

function player() {
  const scrub = byId("scrub");
  scrub.value = at;
  const step = at > 0 ? steps[at - 1] : null;
  scrub.setAttribute("aria-valuetext", step ? `step ${at}: ${step.kind}, ${called(step.at)}` : "before the first step");
  byId("cursor").setAttribute("x1", at);
  byId("cursor").setAttribute("x2", at);
  const where = step ? `step ${at} of ${steps.length}, ` : `${plural(steps.length, "step")}, at most `;
  const bytes = step ? held[at - 1] : Math.max(...held);
  byId("held").replaceChildren(where, element("b", {}, quantity(bytes, "B")), " held");
  byId("first").disabled = byId("back").disabled = at === 0;
  byId("next").disabled = byId("last").disabled = at === steps.length;
}

/** The curve of the memory that is held, over the steps: what the slider slides along. */
function curveOfMemory() {
  const most = Math.max(...held, 1);
  const y = (k) => (k < 1 ? 100 : 100 - (72 * held[k - 1]) / most);
  const area = (from, to) => {
    let d = `M${from},100 L${from},${y(from)}`;
    for (let k = from + 1; k <= to; k += 1) d += ` L${k},${y(k)}`;
    return `${d} L${to},100 z`;
  };
  byId("memory").setAttribute("viewBox", `0 0 ${steps.length} 100`);
  byId("memory").replaceChildren(
    svg("path", { class: "forward", d: area(0, lastForward) }),
    svg("path", { class: "backward", d: area(lastForward, steps.length) }),
    svg("line", { id: "cursor", x1: 0, x2: 0, y1: 0, y2: 100 }));
  const peak = held.indexOf(most) + 1;
  const label = byId("peak");
  label.textContent = `${quantity(most, "B")} held at step ${peak}`;
  const share = (100 * peak) / steps.length;
  if (share > 60) label.style.right = `${100 - share}%`;
  else label.style.left = `${share}%`;
}

// ------------------------------------------------------------------ pan, zoom, fold

let touched = false; // the reader has moved the picture; until then it is fitted to a window that changes

function look(gliding = false) {
  const world = byId("world");
  world.classList.toggle("gliding", gliding);
  world.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
}

/** Show all of it; or, where all of it would be too small to read, its beginning. */
function fit(least = 0) {
  const { width, height } = byId("stage").getBoundingClientRect();
  const whole = Math.min(width / scene.w, height / scene.h) * 0.97;
  view.scale = Math.min(Math.max(whole, least), data.scalar ? 2 : 1.3);
  const [first] = scene.boxes.values();
  const x = scene.w * view.scale < width ? scene.w / 2 : first.x + scene.left;
  view.x = width / 2 - x * view.scale;
  view.y = Math.max((height - scene.h * view.scale) / 2, 4);
  look();
}

function zoom(factor, x, y) {
  touched = true;
  const { width, height, left, top } = byId("stage").getBoundingClientRect();
  const px = x === undefined ? width / 2 : x - left;
  const py = y === undefined ? height / 2 : y - top;
  const scale = Math.min(Math.max(view.scale * factor, 0.02), 6);
  view.x = px - ((px - view.x) * scale) / view.scale;
  view.y = py - ((py - view.y) * scale) / view.scale;
  view.scale = scale;
  look();
}

/** Bring a box into sight; where `gently`, only if it is out of it. */
function glide(name, gently = false) {
  const box = name && placed.get(name);
  if (!box) return;
  const { width, height } = byId("stage").getBoundingClientRect();
  const x = box.x * view.scale + view.x;
  const y = box.y * view.scale + view.y;
  const inSight = x > 70 && x < width - 70 && y > 60 && y < height - 60;
  if (gently && inSight) return;
  touched = true;
  if (!(x > 70 && x < width - 70)) view.x += width / 2 - x;
  view.y += height / 2 - y;
  look(true);
}

function toggle(g) {
  const before = placed.get(`g${g}`);
  const top = before && { x: before.x, y: before.y - before.h / 2 };
  if (open.has(g)) open.delete(g);
  else open.add(g);
  for (const changed of [g, ...around(`g${g}`)]) scenes.delete(changed);
  draw();
  const after = placed.get(`g${g}`);
  if (top && after) { // the group stays under the pointer
    touched = true;
    view.x += (top.x - after.x) * view.scale;
    view.y += (top.y - (after.y - after.h / 2)) * view.scale;
    look();
  }
  const shown = open.has(g) ? parts.get(g).frame : elements.get(`g${g}`);
  shown.focus({ preventScroll: true });
}

function toggleAll(unfold) {
  open.clear();
  scenes.clear();
  groups.forEach((_, g) => { if (g === 0 || unfold) open.add(g); });
  draw();
  fit(READABLE);
}

function act(node) {
  const { name } = node.dataset;
  if (name[0] === "f" || isGroup(name)) {
    toggle(index(name));
  } else {
    pinned = pinned === name ? null : name;
    show();
  }
}

const stage = byId("stage");
const pointers = new Map();
let travelled = 0;

stage.addEventListener("pointerdown", (event) => {
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
  if (pointers.size === 1) travelled = 0;
});
window.addEventListener("pointermove", (event) => {
  if (!pointers.has(event.pointerId)) return;
  const [x, y] = pointers.get(event.pointerId);
  const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
  travelled += Math.hypot(event.clientX - x, event.clientY - y);
  if (others.length) { // two fingers: the distance zooms
    const [ox, oy] = others[0];
    const ratio = Math.hypot(event.clientX - ox, event.clientY - oy) / Math.max(Math.hypot(x - ox, y - oy), 1);
    zoom(ratio, (event.clientX + ox) / 2, (event.clientY + oy) / 2);
  } else if (travelled > 4) {
    touched = true;
    stage.classList.add("dragging");
    view.x += event.clientX - x;
    view.y += event.clientY - y;
    look();
  }
});
for (const type of ["pointerup", "pointercancel"]) {
  window.addEventListener(type, (event) => {
    pointers.delete(event.pointerId);
    stage.classList.remove("dragging");
  });
}
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const lines = event.deltaMode === 1 ? 16 : 1;
  zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), event.clientX, event.clientY);
}, { passive: false });
stage.addEventListener("click", (event) => {
  if (travelled > 4) return;
  const node = event.target.closest("[data-name]");
  if (node && !(node.dataset.name[0] === "f" && event.target.classList.contains("edge-of-frame"))) act(node);
  else { pinned = null; show(); }
});
stage.addEventListener("pointerover", (event) => {
  const node = event.target.closest("[data-name]");
  const name = node && node.dataset.name[0] !== "f" ? node.dataset.name : null;
  if (name !== hovered && pointers.size === 0) { hovered = name; show(); }
});
stage.addEventListener("pointerleave", () => { if (hovered) { hovered = null; show(); } });

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const node = event.target.closest("[data-name]");
  const own = { BUTTON: [" ", "Enter"], SELECT: [" ", "Enter", "Home", "End", "ArrowLeft", "ArrowRight"],
    INPUT: ["Home", "End", "ArrowLeft", "ArrowRight"] }[event.target.tagName] || []; // keys that the control takes
  const keys = {
    "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), "0": () => fit(),
    ArrowRight: () => { play(false); go(at + 1); }, ArrowLeft: () => { play(false); go(at - 1); },
    Home: () => { play(false); go(0); }, End: () => { play(false); go(steps.length); },
    Escape: () => { pinned = null; show(); },
    " ": () => play(timer === null),
    Enter: () => node && act(node),
  };
  if (!(event.key in keys)) return;
  if (own.includes(event.key)) return;
  event.preventDefault();
  keys[event.key]();
});

byId("play").addEventListener("click", () => play(timer === null));
const jumps = { first: () => 0, back: () => at - 1, next: () => at + 1, last: () => steps.length };
for (const [id, to] of Object.entries(jumps)) {
  byId(id).addEventListener("click", () => { play(false); go(to()); });
}
byId("scrub").max = steps.length;
byId("scrub").addEventListener("input", (event) => { play(false); go(Number(event.target.value)); });
byId("in").addEventListener("click", () => zoom(1.25));
byId("out").addEventListener("click", () => zoom(0.8));
byId("fit").addEventListener("click", () => fit());
byId("fold").addEventListener("click", () => toggleAll(false));
byId("unfold").addEventListener("click", () => toggleAll(true));
for (const id of ["fold", "unfold"]) byId(id).hidden = groups.length === 1;

byId("summary").textContent = [plural(lastForward, "operation"),
  groups.length > 1 ? plural(groups.length - 1, "group") : null].filter(Boolean).join(", ");
document.body.classList.toggle("scalar", data.scalar);
curveOfMemory();
draw();
fit(READABLE);
new ResizeObserver(() => { if (!touched) fit(READABLE); }).observe(stage);
