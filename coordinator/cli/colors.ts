// Colours for people: the only file that imports picocolors. None when the output is not a terminal, when NO_COLOR is
// set, or when the terminal is dumb.

import picocolors from "picocolors";

export type Colors = ReturnType<typeof picocolors.createColors>;

/** Colours that suit a stream. */
export function colorsFor(stream: { readonly isTTY?: boolean }, env: NodeJS.ProcessEnv = process.env): Colors {
  const wanted = stream.isTTY === true && !env["NO_COLOR"] && env["TERM"] !== "dumb";
  return picocolors.createColors(wanted);
}

/** Text as it is. */
export const plain: Colors = picocolors.createColors(false);
