// Slices and outlines as they come from the server, the last few kept.
//
// One slice that somebody waits for is under way at a time, and a newer wish replaces a waiting one; what lies
// next to it is fetched only when nobody waits.

import { ask } from "../lib/answers.js";

const KEPT_BYTES = 48 * 1024 * 1024;
const AHEAD = [1, -1, 2, -2, 3, -3];
const UNCACHED = { cache: "no-store" };

export class SliceStore {
  constructor(source, count, arrived, failed) {
    Object.assign(this, { source, count, arrived, failed });
    this.kept = new Map(); // slice -> {hu, generated}, those used last at the end
    this.bytes = 0;
    this.masks = new Map(); // slice -> Uint8Array, or null where there is none
    this.version = "";
    this.next = null;
    this.busy = false;
  }

  close() {
    this.closed = true;
  }

  // Ask for a slice; it is given at once when it is here, else `arrived` is called when it is.
  want(at) {
    this.next = at;
    this.work();
    return this.slice(at);
  }

  slice(at) {
    const slice = this.kept.get(at);
    if (slice) {
      this.kept.delete(at);
      this.kept.set(at, slice);
    }
    return slice;
  }

  mask(at) {
    return this.version ? this.masks.get(at) ?? null : null;
  }

  outlines(version) {
    if (version === this.version) return;
    this.version = version;
    this.masks.clear();
    this.work();
  }

  async work() {
    if (this.busy || this.closed || this.next === null) return;
    this.busy = true;
    try {
      for (let next = this.missing(); next && !this.closed; next = this.missing()) await this.fetch(next);
    } catch (error) {
      if (!this.closed) this.failed(error.message);
      this.next = null; // until somebody asks again
    } finally {
      this.busy = false;
    }
  }

  // What is to be fetched next: what is waited for, then what lies next to it.
  missing() {
    const near = [0, ...AHEAD].map((step) => this.next + step).filter((at) => at >= 0 && at < this.count);
    for (const at of near) {
      if (!this.kept.has(at)) return { at, kind: "hu" };
      if (this.version && !this.masks.has(at)) return { at, kind: "mask" };
    }
    return null;
  }

  async fetch({ at, kind }) {
    if (kind === "hu") {
      this.keep(at, await ask(`${this.source}/${at}.hu`, readSlice, UNCACHED));
    } else if (this.kept.get(at)?.generated) {
      this.masks.set(at, null); // what is generated was outlined by nobody
    } else {
      const version = this.version;
      const answer = await fetch(`${this.source}/${at}.mask?version=${encodeURIComponent(version)}`, UNCACHED);
      const mask = answer.status === 200 ? new Uint8Array(await answer.arrayBuffer()) : null;
      if (version !== this.version) return;
      this.masks.set(at, mask);
    }
    if (!this.closed) this.arrived(at);
  }

  keep(at, slice) {
    this.kept.set(at, slice);
    this.bytes += slice.hu.byteLength;
    for (const [other, old] of this.kept) {
      if (this.bytes <= KEPT_BYTES || Math.abs(other - this.next) <= AHEAD.length) break;
      this.kept.delete(other);
      this.bytes -= old.hu.byteLength;
    }
  }
}

async function readSlice(response) {
  const generated = response.headers.get("X-Generated");
  const hu = new Int16Array(await response.arrayBuffer());
  return { hu, generated: generated === null ? null : generated === "1" };
}
