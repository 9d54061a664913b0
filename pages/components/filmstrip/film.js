// A film of decoded frames, fetched as a whole once it is in view: after that no frame waits for the server.

import { ask, readJson } from "../lib/answers.js";
import { differencePixel, ORANGE } from "../lib/colours.js";
import { announcePlace, component } from "../lib/component.js";
import { strokeCurve } from "../lib/curves.js";
import { accentOf, element } from "../lib/elements.js";
import { bytesOf, paintGrey, paintImage, PIXELS } from "../lib/images.js";

class Film {
  constructor(parent) {
    const root = parent.querySelector(".film");
    this.root = root;
    this.find = (selector) => root.querySelector(selector);
    this.now = this.find(".now").getContext("2d", { alpha: false });
    this.change = this.find(".change").getContext("2d", { alpha: false });
    this.at = 0;
    this.slider = this.find("input");
    this.slider.oninput = () => {
      this.stop();
      this.show(Number(this.slider.value));
    };
    this.find(".play").onclick = () => (this.timer ? this.stop() : this.play());
    root.onkeydown = (event) => this.key(event);
    this.watching = new ResizeObserver(() => this.data && this.draw());
    this.watching.observe(this.find(".curves"));
    this.nearing = new IntersectionObserver(
      (entries) => {
        if (entries.at(-1).isIntersecting) this.fetch();
      },
      { rootMargin: "300px" },
    );
  }

  close() {
    this.stop();
    this.watching.disconnect();
    this.nearing.disconnect();
  }

  take(given) {
    this.find(".window").textContent = given.window;
    this.find(".less").textContent = `blue −${given.fullHu}`;
    this.find(".more").textContent = `orange +${given.fullHu}`;
    const other = given.source !== this.given?.source;
    this.given = given;
    if (!other) {
      if (this.data) {
        this.data = { ...this.data, ...given };
        this.show(this.at);
      }
      return;
    }
    this.stop();
    this.data = null;
    this.root.removeAttribute("data-frame");
    this.find(".play").disabled = this.slider.disabled = true;
    this.find(".caption").textContent = "";
    this.nearing.unobserve(this.root); // what is observed anew is reported at once
    this.nearing.observe(this.root);
  }

  async fetch() {
    this.nearing.unobserve(this.root);
    const { given } = this;
    this.root.setAttribute("aria-busy", "true");
    const answer = await ask(given.source, readJson).catch(({ message }) => ({ error: message }));
    if (given.source !== this.given.source) return; // another film was asked for meanwhile
    this.root.removeAttribute("aria-busy");
    this.find(".caption").textContent = answer.error ?? "";
    if (answer.error) return;
    this.data = { ...answer, ...this.given };
    this.find(".warning").textContent = answer.warning;
    this.find(".play").disabled = this.slider.disabled = false;
    this.slider.max = String(answer.count - 1);
    this.frames = bytesOf(answer.frames);
    this.build();
    this.show(0);
  }

  build() {
    this.curves = this.data.curves.map((curve) => {
      const box = element("div", "curve");
      const head = element("div", "head");
      const value = element("span", "value");
      head.append(element("span", "", curve.name), value);
      const canvas = element("canvas");
      canvas.setAttribute("role", "img");
      const measured = curve.values.filter((each) => each !== null);
      const range = measured.length
        ? `from ${curve.values[0]?.toFixed(curve.digits) ?? "unknown"} to ${curve.values.at(-1)?.toFixed(curve.digits) ?? "unknown"}`
        : "not measured: no lesion was found";
      canvas.setAttribute("aria-label", `${curve.name} along the way, ${range}`);
      box.append(head, canvas);
      return { curve, box, value, canvas };
    });
    this.find(".curves").replaceChildren(...this.curves.map(({ box }) => box));
  }

  key(event) {
    if (!this.data) return;
    const last = this.data.count - 1;
    const steps = { ArrowRight: this.at + 1, ArrowLeft: this.at - 1, Home: 0, End: last };
    if (event.target === this.slider && event.key !== " ") return;
    if (event.key === " " && event.target.tagName !== "BUTTON" && event.target.tagName !== "SELECT") {
      if (this.timer) this.stop();
      else this.play();
    } else if (event.key in steps && event.target.tagName !== "SELECT") {
      this.stop();
      this.show(Math.max(0, Math.min(last, steps[event.key])));
    } else return;
    event.preventDefault();
  }

  play() {
    const pace = () => {
      this.timer = setTimeout(pace, 1000 / Number(this.find(".speed").value));
      let next = this.at + (this.back ? -1 : 1);
      if (next < 0 || next >= this.data.count) {
        this.back = !this.back;
        next = this.at + (this.back ? -1 : 1);
      }
      this.show(Math.max(0, Math.min(this.data.count - 1, next)), true);
    };
    this.find(".play").textContent = "❚❚ Pause";
    this.find(".play").setAttribute("aria-pressed", "true");
    pace();
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    this.find(".play").textContent = "▶ Play";
    this.find(".play").setAttribute("aria-pressed", "false");
  }

  show(at, playing = false) {
    this.at = at;
    const { data } = this;
    this.slider.value = String(at);
    const share = data.count > 1 ? Math.round((100 * at) / (data.count - 1)) : 0;
    const where = at === 0 ? data.ends[0] : at === data.count - 1 ? data.ends[1] : `${share} % of the way`;
    this.slider.setAttribute("aria-valuetext", `frame ${at + 1} of ${data.count}, ${where}`);
    this.find(".place").textContent = `Frame ${at + 1} of ${data.count}: ${where}`;
    const image = this.frames.subarray(at * PIXELS, (at + 1) * PIXELS);
    const first = this.frames.subarray(0, PIXELS);
    paintGrey(this.now, image);
    paintImage(this.change, (place) => differencePixel((image[place] - first[place]) / data.fullGrey));
    const caption = this.find(".caption");
    caption.classList.toggle("far", data.far[at]);
    caption.setAttribute("aria-live", playing ? "off" : "polite");
    caption.textContent = data.words[at];
    this.root.dataset.frame = String(at);
    this.draw();
    if (data.places) announcePlace(data.model, data.places[at]);
  }

  draw() {
    if (!this.data) return;
    const style = getComputedStyle(this.root);
    const accent = accentOf(style);
    const ratio = window.devicePixelRatio || 1;
    for (const { curve, value, canvas } of this.curves) {
      const number = curve.values[this.at];
      const band = curve.low ? ` (${curve.low[this.at].toFixed(2)} to ${curve.high[this.at].toFixed(2)})` : "";
      value.textContent = number === null ? "none found" : `${number.toFixed(curve.digits)}${band}`;
      const [w, h] = [canvas.clientWidth, canvas.clientHeight];
      if (!w) continue;
      [canvas.width, canvas.height] = [w * ratio, h * ratio];
      const context = canvas.getContext("2d");
      context.scale(ratio, ratio);
      const all = [...curve.values, ...(curve.low ?? []), ...(curve.high ?? [])].filter((each) => each !== null);
      if (!all.length) continue;
      let [low, high] = curve.span ?? [Math.min(...all), Math.max(...all)];
      if (high - low < 1e-6) [low, high] = [low - 1, high + 1];
      const x = (step) => 3 + ((w - 6) * step) / Math.max(curve.values.length - 1, 1);
      const y = (each) => h - 4 - ((h - 8) * (each - low)) / (high - low);
      if (curve.low) {
        context.beginPath();
        curve.high.forEach((each, step) => context.lineTo(x(step), y(each)));
        for (let step = curve.low.length - 1; step >= 0; step -= 1) context.lineTo(x(step), y(curve.low[step]));
        context.fillStyle = accent;
        context.globalAlpha = 0.25;
        context.fill();
        context.globalAlpha = 1;
      }
      if (curve.limit !== null) {
        context.fillStyle = ORANGE;
        context.globalAlpha = 0.3;
        context.fillRect(0, 0, w, y(curve.limit));
        context.globalAlpha = 1;
      }
      context.strokeStyle = accent;
      context.lineWidth = 2;
      strokeCurve(context, curve.values, (each, step) => [x(step), y(each)]);
      context.fillStyle = style.color;
      context.fillRect(x(this.at) - 0.75, 0, 1.5, h);
    }
  }
}

export default component(Film);
