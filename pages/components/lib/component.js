// How Streamlit calls a component: once when its element appears and again whenever its data changes. One view
// lives as long as the element does.

// The default export of a component. A View is made of the element, takes data and Streamlit's setters, and closes.
export function component(View) {
  const views = new WeakMap();
  return ({ parentElement, data, ...setters }) => {
    let view = views.get(parentElement);
    if (!view) {
      view = new View(parentElement);
      views.set(parentElement, view);
    }
    view.take(data, setters);
    return () => {
      view.close();
      views.delete(parentElement);
    };
  };
}

// Maps of the model in the same tab mark the place (x, y) at which a view is.
export function announcePlace(model, xy) {
  window.dispatchEvent(new CustomEvent("lungvae:place", { detail: { model, xy, label: "here" } }));
}
