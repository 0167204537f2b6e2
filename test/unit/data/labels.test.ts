import { expect, test } from "vitest";
import { createLabelReader, findLabels } from "../../../coordinator/data/labels.ts";

test("finds labels sorted by name, or by number when all are numbers", () => {
  expect(findLabels(["spam", "ham", "spam", null, "", 1.5])).toEqual(["ham", "spam"]);
  expect(findLabels([10, 9, "2", 9])).toEqual(["2", "9", "10"]);
  expect(findLabels([true, false])).toEqual(["false", "true"]);
});

test("reads a label by its name, and a number that is no name as an index", () => {
  const read = createLabelReader(["ham", "spam", "7"]);
  expect(["spam", 0, 1, 7, "7"].map(read)).toEqual([{ id: 1 }, { id: 0 }, { id: 1 }, { id: 2 }, { id: 2 }]);
});

test.each<[unknown, string]>([
  [3, "3, out of range: there are 3 labels, 0 to 2"],
  [-1, "-1, out of range: there are 3 labels, 0 to 2"],
  ["spma", '"spma", none of the 3 labels (ham, spam, eggs); did you mean "spam"?'],
  ["1", '"1", none of the 3 labels (ham, spam, eggs)'],
  [null, "null, not the name or the index of a label"],
  [1.5, "1.5, not the name or the index of a label"],
  [undefined, "missing, not the name or the index of a label"],
])("refuses %j", (value, problem) => {
  expect(createLabelReader(["ham", "spam", "eggs"])(value)).toEqual({ problem });
});
