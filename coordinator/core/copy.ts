// A deep copy of the state, which is plain data: numbers, strings, null, lists and objects of them. The core copies it for
// every event, and structuredClone, which knows all kinds of objects, took two thirds of a busy coordinator's time.

/** Lists and objects are new, all the way down. */
export function copyOf<T>(value: T): T {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) {
    const list: unknown[] = new Array<unknown>(value.length);
    for (let i = 0; i < value.length; i++) list[i] = copyOf(value[i] as unknown);
    return list as T;
  }
  const copy: Record<string, unknown> = {};
  for (const key in value) copy[key] = copyOf(value[key]);
  return copy as T;
}
