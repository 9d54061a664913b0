"""A page's address leads another person to what is seen: opened afresh, the same is shown."""

from __future__ import annotations

import pytest

from tests.browser.conftest import fresh_page, settled, still

# address -> what must be seen there, not only kept in the address
SHOWN = {
    "/?model=dirvae&text=large": ["DirVAE (Dirichlet)", "Larger text: on"],
    "/map?model=dirvae&unit=nodule&method=pca&colour=score&row=500": [
        "nodule: on",
        "PCA: on",
        "LIDC-IDRI-0060",
        "DirVAE (Dirichlet)",
    ],
    "/map?model=gvae&method=pca&rows=3-9,500&row=500&group=typical": ["8 slices of", "Typical: on"],
    "/traversal?model=dirvae&row=500&dimension=12&way=direction&along=diameter": [
        "LIDC-IDRI-0060, nodule 1, slice 3",
        "z 12",
        "Malignancy and size: on",
        "Size: on",
    ],
    "/traversal?model=gvae&start=draw:7&way=grid&across=3&up=9": ["draw 7 from the prior", "z 3", "z 9"],
    "/predict?model=dirvae&row=500": ["LIDC-IDRI-0060", "Slice", "Model score", "DirVAE (Dirichlet)"],
    "/compare?model=dirvae&beside=gvae&unit=nodule&method=pca&row=500": [
        "Beside DirVAE (Dirichlet)",
        "GVAE (Gaussian)",
        "PCA: on",
        "LIDC-IDRI-0060, nodule 1, slice 3",
    ],
    "/evaluation?report=dirvae-paper-mvb&unit=slice": ["THIS PROTOCOL LEAKS", "Per slice: on"],
    "/measured?model=dirvae&dimension=7": ["z 7"],
    "/factors?model=gvae": ["GVAE (Gaussian)"],
    "/clusters?model=gvae&method=kmeans&map=tsne": ["t-SNE: on", "k-means: on"],
    "/directions?model=dirvae&direction=diameter&row=500": ["LIDC-IDRI-0060"],
    "/train?model=gvae": ["Preset"],
    "/search?model=gvae": ["Start search"],
}

# All that can be read, through shadow roots: text, what fields hold, what is switched on, images by name.
READ = """
() => {
  const said = [];
  const seen = (node) => {
    if (node.nodeType === Node.TEXT_NODE) {
      const text = node.textContent.replace(/\\s+/g, " ").trim();
      if (text) said.push(text);
      return;
    }
    if (node.nodeType !== Node.ELEMENT_NODE || /^(STYLE|SCRIPT|TEMPLATE)$/.test(node.tagName)) return;
    if (node.hidden || node.getAttribute("data-testid") === "stStatusWidget") return;
    if (node.matches("input, textarea") && node.type !== "file") {
      if (/checkbox|radio/.test(node.type)) said.push(`${node.labels?.[0]?.innerText.trim() ?? ""}: ${
        node.checked ? "on" : "off"}`);
      else said.push(node.value);
    }
    if (node.tagName === "IMG") said.push(`image: ${node.alt}`);
    const on = node.getAttribute("aria-checked") ?? node.getAttribute("aria-pressed");
    if (on === "true" || node.getAttribute("kind")?.endsWith("Active"))
      said.push(`${node.innerText.trim()}: on`);
    for (const child of (node.shadowRoot ?? node).childNodes) seen(child);
  };
  const parts = "[data-testid='stSidebarUserContent'], [data-testid='stMain']";
  for (const part of document.querySelectorAll(parts)) seen(part);
  return said;
}
"""
STILL_MS, TRIES = 1200, 20  # charts and images come after the script


@pytest.mark.long
@pytest.mark.parametrize("address", SHOWN)
def test_a_link_shows_another_person_the_same(chromium, shipped_url, address):
    errors: list[str] = []
    first, url = opened(chromium, shipped_url + address, errors)
    for words in SHOWN[address]:
        assert any(words in each for each in first), (words, first)
    second, again = opened(chromium, url, errors)
    assert second == first
    assert again == url
    assert errors == []


def opened(chromium, url, errors):
    """(what is read at the address in a fresh browser context, the address that it has then)."""
    page = fresh_page(chromium, errors)
    page.goto(url, wait_until="domcontentloaded")
    settled(page)
    page.locator(".map:not([data-ready])").first.wait_for(state="detached")  # maps say what is selected
    read: list[str] = []
    same = 0
    for _ in range(TRIES):
        still(page, STILL_MS)
        before, read = read, page.evaluate(READ)
        same = same + 1 if read == before else 0
        if same == 2:  # on a busy machine a page's charts may come seconds after its script
            break
    found = read, page.url
    page.context.close()
    return found
