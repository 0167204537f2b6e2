// The clock of a simulated cluster and everything that is to happen in it, in order. Simulated milliseconds: nobody waits.
// What is due at the same moment happens in the order in which it was asked for, so a seed has one history.

interface Entry {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

export class Timeline {
  nowMs = 0;
  #order = 0;
  /** A binary heap: an entry is due no later than its children, 2i+1 and 2i+2. */
  readonly #heap: Entry[] = [];

  get length(): number {
    return this.#heap.length;
  }

  after(ms: number, run: () => void): void {
    const heap = this.#heap;
    const entry = { atMs: this.nowMs + Math.max(0, ms), order: this.#order++, run };
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(entry, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = entry;
  }

  /** Lets the next thing happen; false when nothing ever will. */
  advance(): boolean {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined) return false;
    if (heap.length > 0) {
      let at = 0;
      for (;;) {
        let child = 2 * at + 1;
        if (child >= heap.length) break;
        if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
        if (!isBefore(heap[child]!, last)) break;
        heap[at] = heap[child]!;
        at = child;
      }
      heap[at] = last;
    }
    this.nowMs = first.atMs;
    first.run();
    return true;
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
