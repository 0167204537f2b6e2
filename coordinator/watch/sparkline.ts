// A curve in one line of text: a block for each group of values, as high as their mean.

const blocks = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/**
 * At most `width` blocks; fewer values than that have a block each. The lowest mean is the lowest block, the highest the
 * highest; values that are not finite are left out. Empty without values.
 */
export function sparkline(values: readonly number[], width: number): string {
  const finite = values.filter(Number.isFinite);
  const count = Math.min(width, finite.length);
  const means = Array.from({ length: count }, (_, i) => {
    const group = finite.slice(Math.floor((i * finite.length) / count), Math.floor(((i + 1) * finite.length) / count));
    return group.reduce((sum, value) => sum + value, 0) / group.length;
  });
  const [least, most] = [Math.min(...means), Math.max(...means)];
  const height = (mean: number): number =>
    most > least ? Math.round(((mean - least) / (most - least)) * (blocks.length - 1)) : 0;
  return means.map((mean) => blocks[height(mean)]!).join("");
}
