// Byte-pair encoding as its definition reads, with every count made anew for every merge: what the trainer is checked
// against. It shares no code with it; its own splitting into words is the expression of OpenAI's GPT-2 encoder.py.

const words = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** encoder.py's bytes_to_unicode. */
function bytesToUnicode(): Map<number, string> {
  const visible: number[] = [];
  for (const [first, last] of ["!~", "¡¬", "®ÿ"].map((ends) => [ends.charCodeAt(0), ends.charCodeAt(1)])) {
    for (let code = first ?? 0; code <= (last ?? 0); code++) visible.push(code);
  }
  const table = new Map(visible.map((code) => [code, String.fromCharCode(code)]));
  let more = 0;
  for (let byte = 0; byte < 256; byte++) if (!table.has(byte)) table.set(byte, String.fromCharCode(256 + more++));
  return table;
}

/** The merges of a vocabulary of `vocabSize` tokens, one of them the end-of-text token: ["t h", "th e", ...]. */
export function naiveMerges(texts: readonly string[], vocabSize: number): string[] {
  const table = bytesToUnicode();
  const spellings = texts.flatMap((text) =>
    [...text.matchAll(words)].map(([word]) => [...Buffer.from(word)].map((byte) => table.get(byte) ?? "")),
  );
  const ids = new Map([...table.values()].sort().map((token, id) => [token, id]));
  const merges: string[] = [];
  while (ids.size < vocabSize - 1) {
    const counts = new Map<string, number>();
    for (const spelling of spellings) {
      for (let i = 0; i + 1 < spelling.length; i++) {
        const pair = `${spelling[i]} ${spelling[i + 1]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    }
    const idsOf = (pair: string): [number, number] => {
      const [left = "", right = ""] = pair.split(" ");
      return [ids.get(left) ?? -1, ids.get(right) ?? -1];
    };
    const [best] = [...counts].sort(([a, countA], [b, countB]) => {
      const [[leftA, rightA], [leftB, rightB]] = [idsOf(a), idsOf(b)];
      return countB - countA || leftA - leftB || rightA - rightB;
    });
    if (best === undefined || best[1] < 2) break;
    const [left = "", right = ""] = best[0].split(" ");
    merges.push(best[0]);
    ids.set(left + right, ids.size);
    for (const spelling of spellings) {
      for (let i = 0; i + 1 < spelling.length; i++) {
        if (spelling[i] === left && spelling[i + 1] === right) spelling.splice(i, 2, left + right);
      }
    }
  }
  return merges;
}
