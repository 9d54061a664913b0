// Sliders that decode while they are dragged. The server's side is lungvae_core/serving/live.py.
//
// At most one wish is under way; while it is, only the newest value of the slider in hand waits behind it.
// `edits` holds the dimensions that differ from the start. A drag begins from the edits as they were then (its
// anchor), so that moving a slider there and back comes home exactly, on the simplex too.

const SIDE = 64;
const PIXELS = SIDE * SIDE;
const SHOWN = 12; // sliders that are not folded away
const views = new WeakMap();

export default function (component) {
  const { parentElement, data, setStateValue } = component;
  let view = views.get(parentElement);
  if (!view) {
    view = new View(parentElement);
    views.set(parentElement, view);
  }
  view.tell = (released) => setStateValue("released", released);
  view.take(data);
  return () => {
    view.close();
    views.delete(parentElement);
  };
}

class View {
  constructor(root) {
    const find = (selector) => root.querySelector(selector);
    this.root = find(".view");
    this.contexts = {};
    for (const name of ["now", "difference", "start", "real"]) {
      this.contexts[name] = find(`#${name}`).getContext("2d", { alpha: false });
    }
    this.find = find;
    this.now = this.contexts.now.createImageData(SIDE, SIDE);
    this.difference = this.contexts.now.createImageData(SIDE, SIDE);
    this.rows = new Map(); // dimension -> its row's elements
    this.edits = new Map();
    this.queue = []; // wishes that wait; at most one for each drag
    this.sent = null; // the wish under way
    this.count = 0; // of wishes
    this.drag = 0; // of drags
    this.failures = 0;
    this.turn = Date.now(); // grows with all that is said, also by a view that comes after this one
    find("#smooth").onchange = (event) => this.root.classList.toggle("smooth", event.target.checked);
    find("#reset-all").onclick = () => this.set(new Map());
    find("#more").ontoggle = () => this.follow();
    this.root.addEventListener("pointerdown", () => { this.keys = false; });
    this.root.addEventListener("keydown", () => { this.keys = true; });
  }

  // ---- what Python gives ----

  take(data) {
    const first = !this.data;
    const moved = first || data.model !== this.data.model || data.start !== this.data.start;
    const other = this.data?.model !== data.model;
    this.data = data;
    this.find(".window").textContent = data.window;
    this.find(".origin").textContent = data.startLabel;
    this.find(".legend .less").textContent = `−${data.differenceHu}`;
    this.find(".legend .more").textContent = `+${data.differenceHu} HU`;
    grey(this.contexts.start, data.startImage);
    this.find("#real-figure").hidden = !data.realImage;
    if (data.realImage) grey(this.contexts.real, data.realImage);
    this.find(".scale").hidden = !data.spacing;
    if (data.spacing) this.find(".scale i").style.width = `${(10 / data.spacing / SIDE) * 7}rem`;
    if (!moved) return;
    this.build();
    this.edits = new Map(data.edits);
    this.queue = [];
    this.choose(data.dimension, false);
    if (other) this.connect();
    else this.ask({ drag: ++this.drag });
  }

  build() {
    const folders = [this.find("#rows"), this.find("#more-rows")];
    folders.forEach((folder) => folder.replaceChildren());
    this.rows.clear();
    const names = this.data.names ?? {};
    this.root.classList.toggle("named", Object.values(names).some(([label]) => label));
    this.data.sliders.forEach(([dimension, low, high, start], position) => {
      const row = element("div", "row");
      const [label, told] = names[dimension] ?? ["", ""];
      const words = label ? `z ${dimension} · ${label}` : `z ${dimension}`;
      const name = element("button", "name", words);
      name.type = "button";
      name.title = [told, "Show this dimension's whole range below"].filter(Boolean).join("\n");
      const input = element("input");
      Object.assign(input, { type: "range", min: low, max: high, step: (high - low) / 250, value: start });
      input.setAttribute("aria-label", label ? `Dimension ${dimension}, ${label}` : `Dimension ${dimension}`);
      input.dataset.dimension = dimension;
      const output = element("output");
      const reset = element("button", "reset", "↺");
      reset.type = "button";
      reset.setAttribute("aria-label", `Reset dimension ${dimension}`);
      reset.title = "Back to the start";
      row.append(name, input, output, reset);
      folders[position < SHOWN ? 0 : 1].append(row);
      this.rows.set(dimension, { row, input, output, reset, folded: position >= SHOWN });
      name.onclick = () => this.choose(dimension, true);
      input.oninput = () => this.move(dimension, Number(input.value));
      input.onchange = () => this.release();
      reset.onclick = () => {
        const edits = new Map(this.edits);
        edits.delete(dimension);
        this.set(edits);
      };
    });
    const folded = this.data.sliders.length - SHOWN;
    this.find("#more").hidden = folded <= 0;
    this.find("summary").textContent = `${folded} more, those that vary less`;
  }

  choose(dimension, tell) {
    this.chosen = dimension;
    for (const [at, { row }] of this.rows) row.classList.toggle("chosen", at === dimension);
    if (tell) this.say();
  }

  // ---- what the hand does ----

  move(dimension, value) {
    clearTimeout(this.saying);
    if (this.held !== dimension) {
      this.held = dimension;
      delete this.rows.get(dimension).row.dataset.value;
      this.drag += 1;
      this.choose(dimension, false);
    }
    const row = this.rows.get(dimension);
    row.output.textContent = format(value);
    this.ask({ drag: this.drag, move: [dimension, value] });
  }

  release() {
    this.held = null;
    this.unsaid = true;
    this.settle();
  }

  set(edits) {
    this.held = null;
    this.unsaid = true;
    this.ask({ drag: ++this.drag, edits });
  }

  // ---- the wire ----

  ask(wish) {
    const last = this.queue.at(-1);
    const same = last?.move && wish.move && last.move[0] === wish.move[0];
    if (last && (same || last.drag === wish.drag)) this.queue.pop();
    this.queue.push(wish);
    this.send();
  }

  send() {
    if (this.sent || !this.queue.length || this.socket?.readyState !== WebSocket.OPEN) return;
    const wish = this.queue.shift();
    if (wish.edits) this.edits = new Map(wish.edits);
    if (this.anchored !== wish.drag) {
      this.anchored = wish.drag;
      this.anchor = [...this.edits];
    }
    this.sent = wish;
    this.count = (this.count + 1) % 2 ** 32;
    const message = { id: this.count, start: this.data.start, edits: this.anchor };
    if (wish.move) message.move = wish.move;
    this.socket.send(JSON.stringify(message));
  }

  connect() {
    this.close();
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const address = `${scheme}//${location.host}/api/live/${encodeURIComponent(this.data.model)}`;
    const socket = new WebSocket(address);
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.failures = 0;
      this.status("");
      if (!this.queue.length) this.ask({ drag: ++this.drag });
      else this.send();
    };
    socket.onmessage = (event) => this.receive(event.data);
    socket.onclose = (event) => {
      if (this.socket !== socket) return;
      if (this.sent && !this.queue.length) this.queue.push(this.sent);
      this.sent = null;
      if (event.code === 1008 || event.code === 1011) {
        this.status(event.reason || "The server refused to decode this.");
        this.queue = [];
        return;
      }
      this.status("The connection to the server was lost; trying again …");
      this.failures += 1;
      this.timer = setTimeout(() => this.connect(), Math.min(8000, 250 * 2 ** this.failures));
    };
  }

  close() {
    clearTimeout(this.timer);
    const socket = this.socket;
    this.socket = null;
    this.sent = null;
    if (socket) socket.close();
  }

  receive(buffer) {
    const header = new DataView(buffer);
    const id = header.getUint32(0, true);
    if (!this.sent || id !== this.count) return;
    const count = header.getUint32(4, true);
    const score = header.getFloat32(8, true);
    this.code = new Float32Array(buffer, 12, count);
    const image = new Uint8Array(buffer, 12 + 4 * count, PIXELS);
    const difference = new Int8Array(buffer, 12 + 4 * count + PIXELS, PIXELS);
    paint(this.contexts.now, this.now, image, GREYS, 0);
    paint(this.contexts.difference, this.difference, difference, DIVERGING, 128);
    const { move } = this.sent;
    this.sent = null;
    if (move) this.edits.set(...move);
    for (const at of this.edits.keys()) this.edits.set(at, this.code[at]);
    this.send(); // the next wish travels while this answer's numbers are written
    this.find("#now").dispatchEvent(
      new CustomEvent("decoded", { bubbles: true, composed: true, detail: { id, move, put: performance.now() } }),
    );
    this.follow();
    this.score(score);
    this.settle();
  }

  // ---- what the eye sees ----

  follow() {
    if (!this.code) return;
    const open = this.find("#more").open;
    for (const [at, { row, input, output, reset, folded }] of this.rows) {
      if (folded && !open) continue;
      const value = this.code[at];
      const edited = this.edits.has(at);
      // A slider in hand, or with a newer wish under way, is ahead of this answer.
      if (at !== this.held && at !== this.sent?.move?.[0] && row.dataset.value !== String(value)) {
        row.dataset.value = value;
        input.value = value;
        output.textContent = format(value);
      }
      row.classList.toggle("edited", edited);
      reset.disabled = !edited;
    }
    this.find("#reset-all").disabled = !this.edits.size;
  }

  score(score) {
    const from = this.data.startScore;
    const known = !Number.isNaN(score);
    this.find(".score .value").textContent = known ? score.toFixed(2) : "none";
    this.find(".meter").hidden = !known;
    if (!known) {
      this.find(".score .change").textContent = "This model has no classifier.";
      return;
    }
    this.find(".meter .to").style.left = `${100 * score}%`;
    this.find(".meter .from").style.left = `${100 * from}%`;
    const change = score - from;
    const sign = change < -0.005 ? "−" : change > 0.005 ? "+" : "±";
    this.find(".score .change").textContent =
      `start ${from.toFixed(2)}, change ${sign}${Math.abs(change).toFixed(2)}; not a probability of cancer`;
  }

  settle() {
    if (!this.unsaid || this.sent || this.queue.length) return;
    clearTimeout(this.saying);
    this.saying = setTimeout(() => this.say(), this.keys ? 300 : 0); // keys come in rows
  }

  say() {
    clearTimeout(this.saying);
    this.unsaid = false;
    this.tell({
      model: this.data.model,
      start: this.data.start,
      edits: [...this.edits],
      dimension: this.chosen ?? null,
      turn: (this.turn += 1),
    });
  }

  status(text) {
    this.find(".status").textContent = text;
  }
}

// ---- painting ----

const GREYS = Uint32Array.from({ length: 256 }, (_, at) => 0xff000000 | (at * 0x010101));
const DIVERGING = Uint32Array.from({ length: 256 }, (_, at) => {
  const share = Math.max(-1, (at - 128) / 127);
  const [red, green, blue] = share < 0 ? [86, 180, 233] : [230, 159, 0]; // Okabe and Ito's sky blue and orange
  const mix = (full) => Math.round(17 + (full - 17) * Math.abs(share));
  return 0xff000000 | (mix(blue) << 16) | (mix(green) << 8) | mix(red);
});

function paint(context, image, values, colours, offset) {
  const pixels = new Uint32Array(image.data.buffer);
  for (let at = 0; at < PIXELS; at += 1) pixels[at] = colours[values[at] + offset];
  context.putImageData(image, 0, 0);
}

function grey(context, base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  paint(context, context.createImageData(SIDE, SIDE), bytes, GREYS, 0);
}

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text) made.textContent = text;
  return made;
}

function format(value) {
  return value.toFixed(Math.abs(value) < 0.0995 && value !== 0 ? 3 : 2).replace("-", "−");
}
