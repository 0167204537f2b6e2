// Disjoint sets of 0..count-1 (Tarjan, 1975): documents that are alike end up in one, however the pairs are met.
// The first element, in order, stands for its set, so the outcome depends on the pairs alone.

export interface UnionFind {
  /** The smallest element of the set that holds `element`. Amortised, as good as constant time. */
  find(element: number): number;
  /** Makes one set of two; returns false when they were one already. */
  unite(a: number, b: number): boolean;
}

export function createUnionFind(count: number): UnionFind {
  const parent = Uint32Array.from({ length: count }, (_, i) => i);
  const find = (element: number): number => {
    let at = element;
    while (parent[at] !== at) at = parent[at] = parent[parent[at]!]!; // halves the path
    return at;
  };
  return {
    find,
    unite(a, b) {
      const [first, second] = [find(a), find(b)];
      if (first === second) return false;
      parent[Math.max(first, second)] = Math.min(first, second);
      return true;
    },
  };
}
