// The card at the pointer: the lesion's image at once from the sheet of sprites, sharper when the pointer
// rests, and what is known of it.

import { element } from "../lib/elements.js";
import { lesionLines, patientOf } from "../lib/lesions.js";
import { drawSprite } from "./store.js";

const REST_MS = 60;
const MOST_IMAGES = 400;

export class HoverCard {
  constructor(view) {
    this.view = view;
    this.box = view.find(".card");
    this.context = this.box.querySelector("canvas").getContext("2d");
    this.images = new Map(); // row -> Image at 64x64
  }

  hide() {
    clearTimeout(this.timer);
    this.box.hidden = true;
    delete this.view.root.dataset.card;
  }

  show(point, x, y) {
    const { width, height } = this.view;
    if (this.box.hidden || this.point !== point) this.fill(point);
    this.box.hidden = false;
    const [w, h] = [this.box.offsetWidth, this.box.offsetHeight];
    const left = x + 18 + w > width ? x - 18 - w : x + 18;
    const top = Math.max(4, Math.min(y - h / 3, height - h - 4));
    this.box.style.transform = `translate(${Math.max(4, Math.round(left))}px, ${Math.round(top)}px)`;
  }

  fill(point) {
    clearTimeout(this.timer);
    this.point = point;
    const { lesions, sprites } = this.view;
    const row = lesions.row[point];
    const { context } = this;
    const side = context.canvas.width;
    const sharp = this.images.get(row);
    context.imageSmoothingQuality = "high";
    if (sharp?.complete && sharp.naturalWidth) context.drawImage(sharp, 0, 0, side, side);
    else {
      if (sprites) drawSprite(sprites, context, row, 0, 0, side);
      else context.clearRect(0, 0, side, side);
      // The small image is there at once; the full one follows when the pointer rests.
      this.timer = setTimeout(() => this.fetchImage(row, point), sprites ? REST_MS : 0);
    }
    const generated = !lesions.real[point];
    const badge = this.box.querySelector(".badge");
    badge.textContent = generated ? "reconstruction (generated)" : "CT slice";
    badge.classList.toggle("generated", generated);
    const title = element("dt", "", patientOf(lesions, point));
    const lines = this.lines(point).map((line) => element("dd", "", line));
    this.box.querySelector("dl").replaceChildren(title, ...lines);
    this.view.root.dataset.card = String(row);
  }

  // What is known of a point, a line each.
  lines(point) {
    return lesionLines(this.view.lesions, point, this.view.data.words);
  }

  fetchImage(row, point) {
    let image = this.images.get(row);
    if (!image) {
      if (this.images.size > MOST_IMAGES) this.images.delete(this.images.keys().next().value);
      image = new Image();
      image.src = `${this.view.data.api}/slices/${row}.png`;
      this.images.set(row, image);
    }
    image.decode().then(
      () => {
        const { canvas } = this.context;
        if (this.point === point && !this.box.hidden) this.context.drawImage(image, 0, 0, canvas.width, canvas.height);
      },
      () => this.images.delete(row),
    );
  }
}
