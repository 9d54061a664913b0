// Cards of lesions in a grid. Cards that stay keep their element, so that no image flickers on a rerun.

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const grid = parentElement.querySelector(".cards");
  grid.style.setProperty("--smallest", `${data.smallest}px`);
  const before = new Map([...grid.children].map((card) => [card.dataset.card, card]));
  const cards = data.cards.map((item) => {
    const name = `${data.api}/${JSON.stringify(item)}`;
    const card = before.get(name) || make(item, name, data);
    card.setAttribute("aria-pressed", String(item.row === data.picked));
    card.onclick = () => setTriggerValue("picked", item.row);
    return card;
  });
  grid.replaceChildren(...cards);
  grid.dataset.count = String(cards.length);
}

function make(item, name, data) {
  const card = document.createElement("button");
  card.type = "button";
  card.dataset.card = name;
  card.dataset.row = String(item.row);
  card.title = data.action;
  const image = document.createElement("img");
  image.loading = "lazy";
  image.src = `${data.api}/slices/${item.row}.png`;
  image.alt = item.real ? "CT slice" : "Reconstruction (generated)";
  const title = document.createElement("b");
  title.textContent = item.title;
  card.append(image, title);
  for (const text of item.lines) {
    const line = document.createElement("span");
    line.textContent = text;
    card.append(line);
  }
  if (!item.real) {
    const line = document.createElement("span");
    line.className = "generated";
    line.textContent = "generated";
    card.append(line);
  }
  return card;
}
