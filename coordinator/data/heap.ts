// A binary heap: the element that comes before all others is always at hand. Elements are not updated in place;
// who needs that pushes again and recognises the stale one.

export interface Heap<T> {
  push(element: T): void;
  /** Takes out the first element, in O(log n); undefined when there is none. */
  pop(): T | undefined;
}

export function createHeap<T>(comesBefore: (a: T, b: T) => boolean): Heap<T> {
  const elements: T[] = [];
  return {
    push(element) {
      let at = elements.push(element) - 1;
      while (at > 0) {
        const parent = (at - 1) >> 1;
        if (!comesBefore(element, elements[parent]!)) break;
        elements[at] = elements[parent]!;
        at = parent;
      }
      elements[at] = element;
    },
    pop() {
      const first = elements[0];
      const last = elements.pop();
      if (last === undefined || elements.length === 0) return first;
      let at = 0;
      for (;;) {
        let child = 2 * at + 1;
        if (child >= elements.length) break;
        if (child + 1 < elements.length && comesBefore(elements[child + 1]!, elements[child]!)) child++;
        if (!comesBefore(elements[child]!, last)) break;
        elements[at] = elements[child]!;
        at = child;
      }
      elements[at] = last;
      return first;
    },
  };
}
