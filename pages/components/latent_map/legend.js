// The legend: what the colours mean, how many have them, and which of them are shown.
//
// A category is shown or hidden by a click and shown alone by a double click, Alt and click, or "only"; of a
// scale a range is kept by dragging on it or by its two handles.

import { element } from "../lib/elements.js";
import { formatCount } from "../lib/numbers.js";

export class Legend {
  constructor(box, changed) {
    this.box = box;
    this.changed = changed; // called when other points are to be shown
    this.colours = null;
    this.hidden = new Uint8Array(1); // by index into the palette, one up: 0 is "not known"
  }

  show(colours) {
    this.colours = colours;
    this.hidden = new Uint8Array(colours.palette.length + 1);
    this.entries = [];
    this.range = null;
    const parts = [element("h4", "", colours.title)];
    colours.labels.forEach((label, i) =>
      parts.push(this.entry(i, label, colours.counts[i], colours.palette[i])),
    );
    if (!colours.labels.length && colours.low) parts.push(this.scale());
    if (colours.unknown) parts.push(this.entry(-1, "not known", colours.unknown, null));
    this.all = element("button", "all", "Show all");
    this.all.type = "button";
    this.all.onclick = () => {
      this.showAll();
      (this.box.querySelector("button, input") || this.box).focus();
    };
    parts.push(this.all);
    if (colours.note) parts.push(element("p", "note", colours.note));
    this.box.replaceChildren(...parts);
    this.box.hidden = false;
    this.mark();
  }

  entry(number, label, count, colour) {
    const item = element("span", "entry");
    const button = element("button", "toggle");
    button.type = "button";
    button.title = "Click: show or hide. Double click: only these.";
    const dot = element("span", colour ? "dot" : "dot unknown");
    if (colour) dot.style.background = colour;
    button.append(dot, element("span", "", label), element("span", "count", formatCount(count)));
    button.onclick = (event) => {
      if (event.altKey) return this.only(number);
      this.hidden[number + 1] ^= 1;
      this.tell();
    };
    button.ondblclick = () => this.only(number);
    const only = element("button", "only", "only");
    only.type = "button";
    only.setAttribute("aria-label", `Only ${label}`);
    only.onclick = () => this.only(number);
    item.append(button, only);
    this.entries.push({ number, button });
    return item;
  }

  scale() {
    const { palette, low, high } = this.colours;
    const last = palette.length - 1;
    this.range = [0, last];
    const scale = element("span", "scale");
    const ramp = element("span", "ramp");
    ramp.style.setProperty("--colours", palette.join(", "));
    this.handles = ["Lowest value shown", "Highest value shown"].map((name, end) => {
      const handle = element("input");
      Object.assign(handle, { type: "range", min: "0", max: String(last), step: "1", value: String(end * last) });
      handle.setAttribute("aria-label", `${name}: ${this.colours.title}`);
      handle.oninput = () => {
        const range = [...this.range];
        range[end] = Number(handle.value);
        // A handle stops at the other.
        range[end] = end ? Math.max(range[1], range[0]) : Math.min(range[0], range[1]);
        this.keep(range);
      };
      return handle;
    });
    ramp.append(element("span", "kept"), ...this.handles);
    const at = (event) => {
      const box = ramp.getBoundingClientRect();
      return Math.round(Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1) * last);
    };
    ramp.onpointerdown = (event) => {
      if (event.target.tagName === "INPUT") return;
      const from = at(event);
      ramp.setPointerCapture(event.pointerId);
      ramp.onpointermove = (moved) => this.keep([Math.min(from, at(moved)), Math.max(from, at(moved))]);
      ramp.onpointerup = ramp.onpointercancel = () => (ramp.onpointermove = null);
    };
    ramp.title = "Drag to show only a range.";
    this.rangeLabel = element("span", "count");
    scale.append(element("span", "", low), ramp, element("span", "", high), this.rangeLabel);
    return scale;
  }

  // What a step of the scale stands for; its ends hold everything beyond them, too.
  value(step) {
    const [low, high] = [parseFloat(this.colours.low), parseFloat(this.colours.high)];
    const value = low + ((high - low) * step) / (this.colours.palette.length - 1);
    return Number.isFinite(value) ? String(Number(value.toPrecision(3))) : `step ${step}`;
  }

  keep(range) {
    this.range = range;
    for (let i = 0; i < this.colours.palette.length; i++)
      this.hidden[i + 1] = i < range[0] || i > range[1] ? 1 : 0;
    // Who asks for a range does not ask for what is not known.
    this.hidden[0] = this.whole() ? 0 : 1;
    this.tell();
  }

  whole() {
    return this.range[0] === 0 && this.range[1] === this.colours.palette.length - 1;
  }

  only(number) {
    const alone = !this.hidden[number + 1] && this.hidden.every((each, at) => each || at === number + 1);
    this.hidden.fill(alone ? 0 : 1);
    this.hidden[number + 1] = 0;
    if (this.range) this.range = [0, this.colours.palette.length - 1];
    this.tell();
  }

  showAll() {
    this.hidden.fill(0);
    if (this.range) this.range = [0, this.colours.palette.length - 1];
    this.tell();
  }

  get filtering() {
    return this.hidden.some((each) => each);
  }

  tell() {
    this.mark();
    this.changed();
  }

  mark() {
    for (const { number, button } of this.entries)
      button.setAttribute("aria-pressed", String(!this.hidden[number + 1]));
    this.all.hidden = !this.filtering;
    if (!this.range) return;
    const last = this.colours.palette.length - 1;
    const ramp = this.handles[0].parentElement;
    this.handles.forEach((handle, end) => {
      handle.value = String(this.range[end]);
      handle.setAttribute("aria-valuetext", this.value(this.range[end]));
    });
    ramp.style.setProperty("--from", `${(100 * this.range[0]) / last}%`);
    ramp.style.setProperty("--to", `${(100 * this.range[1]) / last}%`);
    this.rangeLabel.textContent = this.whole() ? "" : `${this.value(this.range[0])} to ${this.value(this.range[1])}`;
  }
}
