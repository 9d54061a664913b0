// A box of 64 pixels on a CT image; its middle is the lesion's row and column.

const SIDE = 64;
const pending = new WeakMap(); // element -> timer, so that a held arrow key reports once

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const root = parentElement.querySelector(".position");
  const image = root.querySelector("img");
  const box = root.querySelector(".box");
  if (image.src !== data.image) image.src = data.image;
  root.style.aspectRatio = `${data.columns} / ${data.rows}`;
  root.querySelector(".window").textContent = data.window;

  let position = data.position;
  const show = () => {
    box.hidden = !position;
    if (!position) return;
    const [row, column] = position;
    box.style.left = `${(100 * (column - SIDE / 2)) / data.columns}%`;
    box.style.top = `${(100 * (row - SIDE / 2)) / data.rows}%`;
    box.style.width = `${(100 * SIDE) / data.columns}%`;
    box.style.height = `${(100 * SIDE) / data.rows}%`;
  };
  const put = (row, column) => {
    const held = (value, most) => Math.round(Math.min(Math.max(value, 0), most - 1));
    position = [held(row, data.rows), held(column, data.columns)];
    show();
  };
  const tell = () => setStateValue("position", { row: position[0], column: position[1] });
  const follow = (event) => {
    const area = root.getBoundingClientRect();
    put(
      ((event.clientY - area.top) / area.height) * data.rows,
      ((event.clientX - area.left) / area.width) * data.columns,
    );
  };
  root.onpointerdown = (event) => {
    root.setPointerCapture(event.pointerId);
    root.focus({ preventScroll: true });
    follow(event);
  };
  root.onpointermove = (event) => event.buttons && follow(event);
  root.onpointerup = tell;
  root.onkeydown = (event) => {
    const step = event.shiftKey ? 10 : 1;
    const moves = { ArrowLeft: [0, -step], ArrowRight: [0, step], ArrowUp: [-step, 0], ArrowDown: [step, 0] };
    if (!moves[event.key]) return;
    event.preventDefault();
    const [row, column] = position || [data.rows / 2, data.columns / 2];
    put(row + moves[event.key][0], column + moves[event.key][1]);
    clearTimeout(pending.get(root));
    pending.set(root, setTimeout(tell, 250));
  };
  show();
}
