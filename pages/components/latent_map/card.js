// The card at the pointer: the lesion's image at once from the sheet of sprites, sharper when the pointer
// rests, and what is known of it.

const REST_MS = 60;
const MOST_IMAGES = 400;

class HoverCard {
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
    if (sharp && sharp.complete && sharp.naturalWidth) context.drawImage(sharp, 0, 0, side, side);
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
    const title = document.createElement("dt");
    title.textContent = lesions.patients[lesions.patient[point]];
    const lines = this.words(point).map((line) => {
      const item = document.createElement("dd");
      item.textContent = line;
      return item;
    });
    this.box.querySelector("dl").replaceChildren(title, ...lines);
    this.view.root.dataset.card = String(row);
  }

  // What is known of a point, a line each.
  words(point) {
    const { lesions, data } = this.view;
    const lines = [];
    const slices = lesions.slices ? ` of ${lesions.slices[point]}` : "";
    lines.push(`nodule ${lesions.nodule[point]}, slice ${lesions.slice[point]}${slices ? " (largest)" : ""}`);
    const rating = lesions.malignancy ? lesions.malignancy[point] : null;
    const readers = lesions.readers && lesions.readers[point];
    const who = readers ? `${readers} reader${readers === 1 ? "" : "s"}` : "Readers";
    lines.push(rating === null ? "Malignancy not rated" : `${who}: ${data.words[rating] || "rated"} (${rating})`);
    const diameter = lesions.diameter && lesions.diameter[point];
    if (diameter) lines.push(`Diameter ${diameter} mm`);
    const score = lesions.score && lesions.score[point];
    if (score !== null && score !== undefined)
      lines.push(`Model score ${score.toFixed(2)}${slices ? `, mean${slices}` : ""}`);
    return lines;
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
