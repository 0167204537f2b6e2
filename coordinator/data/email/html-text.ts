// The words of an HTML mail, as a person would see them: no tags, scripts, styles, addresses of links. Text that a style
// hides is seen all the same. The only file that imports html-to-text.

import { compile } from "html-to-text";

/** Longer HTML is cut: what is nested a hundred thousand times, to make a reader slow, takes seconds and not minutes. */
const longestHtml = 1 << 18;

const line = { leadingLineBreaks: 1, trailingLineBreaks: 1 };
const convert = compile({
  wordwrap: false,
  limits: { maxDepth: 500, ellipsis: "" },
  formatters: { alternative: (element, _walk, builder) => builder.addInline(` ${element.attribs?.["alt"] ?? ""} `) },
  selectors: [
    { selector: "title", format: "skip" },
    { selector: "img", format: "alternative" },
    { selector: "a", options: { ignoreHref: true } },
    ...["h1", "h2", "h3", "h4", "h5", "h6"].map((selector) => ({ selector, options: { uppercase: false } })),
    ...["tr", "td", "th"].map((selector) => ({ selector, format: "block", options: line })),
  ],
});

/** Lines without white space at their ends, and no two blank ones together. Never throws. */
export function htmlToText(html: string): string {
  const text = convert(html.length > longestHtml ? html.slice(0, longestHtml) : html);
  return text
    .replace(/[^\S\n]+/g, " ")
    .replace(/ ?\n ?/g, "\n")
    .replace(/\n{3,}/g, "\n\n")
    .trim();
}
