import { describe, expect, test } from "vitest";
import type { RunRecord } from "../../common/records.ts";
import { renderCurve } from "../../coordinator/curve.ts";

function run(steps: number, loss: (step: number) => number, every = 10): RunRecord[] {
  const records: RunRecord[] = [];
  const validate = (step: number): void => {
    const value = loss(step);
    records.push({
      kind: "validation",
      step,
      loss: value,
      perplexity: Math.exp(value),
      tokens: 1,
      seconds: 1,
      timeMs: 0,
    });
  };
  validate(0);
  for (let step = 1; step <= steps; step++) {
    const seconds = { data: 0, compute: 1, allReduce: 0, commit: 0, total: 1 };
    const rest = { samples: 16, tokens: 2000, allReduceBytes: 0, busBandwidth: 0, generation: 1, timeMs: 0 };
    const learningRate = 1e-3 * (1 - step / steps);
    records.push({
      kind: "step",
      step,
      epoch: 0,
      loss: loss(step),
      learningRate,
      gradientNorm: 1,
      seconds,
      worldSize: 2,
      ...rest,
    });
    if (step % every === 0) validate(step);
  }
  return records;
}

const falling = (step: number): number => 4 + 4 * Math.exp(-step / 30);

/** Pairs of numbers of the path with this class. */
function pointsOf(svg: string, css: string): [number, number][] {
  const path = new RegExp(`<path class="${css}" d="M([^"]*?)"`, "g");
  const drawn = [...svg.matchAll(path)].map((match) => match[1] ?? "").find((d) => d.includes("L")) ?? "";
  return drawn.split("L").map((pair) => pair.split(",").map(Number) as [number, number]);
}

const texts = (svg: string): string[] =>
  [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map((match) => match[1] ?? "");

describe("the curve", () => {
  test("has a title with the facts, both axes with their units, and a legend", () => {
    const found = texts(renderCurve(run(100, falling)));
    expect(found).toEqual(expect.arrayContaining(["Loss over 100 steps", "loss (nats per token)", "perplexity"]));
    expect(found).toEqual(
      expect.arrayContaining(["optimizer step", "learning rate", "training loss", "validation loss"]),
    );
    expect(found).toContain("200.0k tokens  ·  2 workers  ·  validation perplexity 2981 → 63.0");
    expect(found).toEqual(expect.arrayContaining(["4", "8", "100", "2000"]));
  });

  test("draws a falling loss as a falling line, from the left edge to the right", () => {
    const svg = renderCurve(run(100, falling));
    for (const css of ["each", "smooth", "valid"]) {
      const points = pointsOf(svg, css);
      const ys = points.map(([, y]) => y);
      expect(ys).toEqual([...ys].sort((a, b) => a - b)); // downwards is up in SVG
      expect(points.at(-1)?.[0]).toBe(884);
    }
    expect(pointsOf(svg, "valid")[0]?.[0]).toBe(72);
  });

  test("reads perplexity off the loss axis as its exponential", () => {
    const svg = renderCurve(run(100, falling));
    const heightOf = (label: string): number => Number(new RegExp(`y="([\\d.]+)"[^>]*>${label}</text>`).exec(svg)?.[1]);
    // 1000 = e^6.9078 lies between the ticks 6 and 7 at 90.78% of the way.
    const [six, seven] = [heightOf("6"), heightOf("7")];
    expect((six - heightOf("1000")) / (six - seven)).toBeCloseTo(0.9078, 2);
  });

  test("keeps every spike of a long run and stays small", () => {
    const svg = renderCurve(run(50_000, (step) => (step === 31_337 ? 12 : falling(step / 500)), 1000));
    expect(svg.length).toBeLessThan(150_000);
    const highest = Math.min(...pointsOf(svg, "each").map(([, y]) => y));
    expect(highest).toBeLessThan(Math.min(...pointsOf(svg, "valid").map(([, y]) => y)) - 50);
  });

  test("uses a logarithmic axis when the loss falls by more than an order of magnitude", () => {
    const svg = renderCurve(run(100, (step) => 8 * Math.exp(-step / 20)));
    expect(texts(svg)).toEqual(expect.arrayContaining(["0.1", "0.2", "0.5", "1", "2", "5"]));
    const ys = pointsOf(svg, "valid").map(([, y]) => y);
    const falls = ys.slice(1).map((y, i) => y - (ys[i] ?? 0));
    expect(Math.max(...falls) - Math.min(...falls)).toBeLessThan(0.1); // an exponential is a straight line
  });

  test("counts the last record of a step that was done twice", () => {
    const records = run(20, falling);
    expect(renderCurve([...records, ...records])).toBe(renderCurve(records));
  });

  test.each<[string, RunRecord[]]>([
    ["no records", []],
    ["one validation", run(1, falling).slice(0, 1)],
    ["one step", run(1, falling).slice(1)],
    ["a constant loss", run(30, () => 5)],
    ["a loss of zero", run(30, () => 0)],
    ["a loss that is not finite", run(30, (step) => (step > 20 ? NaN : step > 10 ? Infinity : 5))],
    ["nothing finite", run(3, () => NaN)],
  ])("is well-formed for %s", (_, records) => {
    const svg = renderCurve(records);
    expect(svg).not.toMatch(/NaN|Infinity|undefined|null/);
    expect(svg.match(/<text/g)?.length).toBe(svg.match(/<\/text>/g)?.length);
    expect(svg).toMatch(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg"[\s\S]*<\/svg>\n$/);
  });

  test("is readable on dark pages and needs no CSS variables", () => {
    const svg = renderCurve(run(10, falling));
    expect(svg).toContain("@media (prefers-color-scheme: dark)");
    expect(svg).not.toContain("var(");
  });
});

describe("the curve of a task with labels", () => {
  const metricsAt = (step: number) => {
    const others = { f1_macro: 0, f1_micro: 0, precision: 0, recall: 0 };
    return { ...others, f1: 0.5 + step / 200, accuracy: 0.8 + step / 1000 };
  };
  const labelled = run(40, falling).map((record) =>
    record.kind === "validation" ? { ...record, metrics: metricsAt(record.step) } : record,
  );
  const svg = renderCurve(labelled);

  test("has a panel of F1 and accuracy, higher where they are better, and no perplexity", () => {
    expect(svg).toContain('viewBox="0 0 960 800"');
    const found = texts(svg);
    expect(found).toEqual(expect.arrayContaining(["f1", "accuracy", "0.700", "0.840", "0.5", "1"]));
    expect(found.join()).toContain("validation f1 0.500 → 0.700");
    expect(found.join()).not.toContain("perplexity");
    const panels = [...svg.matchAll(/<path class="(?:valid|rate)" d="M([^"]*?L[^"]*?)"/g)].map(
      (match) => match[1] ?? "",
    );
    const heights = panels
      .at(-2)!
      .split("L")
      .map((pair) => Number(pair.split(",")[1]));
    expect(heights).toHaveLength(5);
    expect(heights).toEqual(heights.toSorted((a, b) => b - a));
    expect(heights[0]).toBe(772); // 0.5 is the lowest line
  });

  test("is as it was without metrics", () => {
    expect(renderCurve(run(40, falling))).toContain('viewBox="0 0 960 600"');
  });
});
