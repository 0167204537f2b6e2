// Bounds that fields of several sections share.

import { z } from "zod";

export const upTo = (maximum: number) => z.int().min(1).max(maximum);

/** Seconds that a timer can hold. */
export const oneWeek = 604_800;
