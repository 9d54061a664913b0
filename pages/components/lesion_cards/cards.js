// Cards of lesions in a grid. Cards that stay keep their element, so that no image flickers on a rerun.

import { element } from "../lib/elements.js";

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const grid = parentElement.querySelector(".cards");
  grid.style.setProperty("--smallest", `${data.smallest}px`);
  if (data.label) grid.setAttribute("aria-label", data.label);
  const before = new Map([...grid.children].map((item) => [item.dataset.card, item]));
  const items = data.cards.map((card) => {
    const name = `${data.api}/${JSON.stringify(card)}`;
    const item = before.get(name) || make(card, name, data);
    const button = item.firstElementChild;
    button.setAttribute("aria-pressed", String(card.row === data.picked));
    button.onclick = () => {
      // Marked at once; Python's answer follows.
      for (const other of grid.querySelectorAll("button[aria-pressed=true]")) other.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", "true");
      setTriggerValue("picked", card.row);
    };
    return item;
  });
  // What keeps its place is not touched: moving an element would take the focus from it.
  if (items.length !== grid.children.length || items.some((item, at) => grid.children[at] !== item)) {
    grid.replaceChildren(...items);
  }
  grid.dataset.count = String(items.length);
  oneStop(grid);
}

// The grid is one stop of the Tab key; arrows, Home and End go from card to card.
function oneStop(grid) {
  const buttons = [...grid.querySelectorAll("button")];
  const active = grid.getRootNode().activeElement;
  const first = buttons.find((button) => button === active)
    || buttons.find((button) => button.getAttribute("aria-pressed") === "true") || buttons[0];
  for (const button of buttons) button.tabIndex = button === first ? 0 : -1;
  grid.onkeydown = (event) => {
    const at = buttons.indexOf(event.target);
    if (at < 0) return;
    const across = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
    const goal = {
      ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + across, ArrowUp: at - across,
      Home: 0, End: buttons.length - 1,
    }[event.key];
    if (goal === undefined) return;
    event.preventDefault();
    buttons[goal]?.focus();
  };
  grid.onfocusin = (event) => {
    for (const button of buttons) button.tabIndex = button === event.target ? 0 : -1;
  };
}

function make(card, name, data) {
  const item = element("li");
  item.dataset.card = name;
  const button = element("button");
  button.type = "button";
  button.dataset.row = String(card.row);
  button.title = data.action;
  const kind = card.real ? "CT slice" : "generated";
  button.setAttribute("aria-label", [card.title, ...card.lines, kind].join(", "));
  const image = element("img");
  image.loading = "lazy";
  image.decoding = "async";
  image.width = image.height = 64;
  image.src = `${data.api}/slices/${card.row}.png`;
  image.alt = card.real ? "CT slice" : "Reconstruction (generated)";
  button.append(image, element("b", "", card.title), ...card.lines.map((text) => element("span", "", text)));
  if (!card.real) button.append(element("span", "generated", "generated"));
  item.append(button);
  return item;
}
