// What the files of the optimizer's state are called: optimizer.safetensors, or optimizer-00001-of-00002.safetensors and so
// on when several workers have written it. Alone in a file, so that the writing thread loads nothing of the models.

const stem = "optimizer";

/** `index` from 0. */
export function optimizerFile(index: number, count: number): string {
  if (count === 1) return `${stem}.safetensors`;
  const [part, all] = [index + 1, count].map((number) => String(number).padStart(5, "0"));
  return `${stem}-${part}-of-${all}.safetensors`;
}

export function isOptimizerFile(name: string): boolean {
  return /^optimizer(-\d{5}-of-\d{5})?\.safetensors$/.test(name);
}
