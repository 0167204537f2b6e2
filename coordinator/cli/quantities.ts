// Numbers as people read them. Messages about errors give exact numbers and do not use this.

/** "850", "18.4k", "2.1M", "3.0G". */
export function describeQuantity(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  for (const [unit, size] of [
    ["G", 1e9],
    ["M", 1e6],
    ["k", 1e3],
  ] as const) {
    // 999,950 rounds to 1000.0k, which is 1.0M.
    if (Math.abs(value) >= size * 0.99995) return `${(value / size).toFixed(1)}${unit}`;
  }
  return String(Math.round(value));
}

/** "0.4s", "9s", "2m 31s", "1h 04m", "3d 04h". */
export function describeDuration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return "?";
  if (seconds < 0.95) return `${seconds.toFixed(1)}s`;
  const whole = Math.round(seconds);
  const two = (value: number): string => String(value).padStart(2, "0");
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${two(whole % 60)}s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)}h ${two(minutes % 60)}m`;
  const hours = Math.round(minutes / 60);
  return `${Math.floor(hours / 24)}d ${two(hours % 24)}h`;
}

/** So many significant digits, without an exponent where people would write none: "0.0123", "1.32", "4100", "1.2e-7". */
export function significant(value: number, digits: number): string {
  const size = Math.abs(value);
  if (size >= 10 ** digits && size < 1e7) return String(Math.round(value));
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(digits - 2);
  return value.toPrecision(digits);
}
