// What the core's routes answer; with `get` fetched once a browser tab.

const KEPT = 80; // answers
const NO_ANSWER = "The server did not answer. Reload the page.";

const kept = new Map(); // address -> promise of what it answered

// What `read` makes of the response; an Error with the server's own sentence where it refuses.
export async function ask(address, read, options) {
  const response = await fetch(address, options).catch(() => {
    throw new Error(NO_ANSWER);
  });
  if (response.ok) return read(response);
  const problem = await response.json().catch(() => ({}));
  throw new Error(problem.error || NO_ANSWER);
}

export async function get(address, read) {
  if (!kept.has(address)) {
    if (kept.size >= KEPT) forget(kept.keys().next().value);
    const answer = ask(address, read);
    answer.catch(() => forget(address));
    kept.set(address, answer);
  }
  return kept.get(address);
}

export const forget = (address) => kept.delete(address);

export const readJson = (response) => response.json();
export const readBytes = async (response) => new Uint8Array(await response.arrayBuffer());
