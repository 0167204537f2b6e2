// Values that can't change any more: whoever still holds a part of one and writes to it throws.

/** Freezes lists and objects, all the way down. Buffers are left as they are. */
export function frozen<T>(value: T): T {
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  for (const part of Object.values(value)) frozen(part as unknown);
  return Object.freeze(value);
}
