// A few words that every rank of a generation tells all others: a JSON text each, in an all-gather. For what ranks have to agree
// on before they use it; anything larger is broadcast.

/** Of every rank, zero-padded. A multiple of 64. */
const recordBytes = 512;

/** What all ranks told, in rank order; undefined for one that is not readable. Rejects only if `gather` does. */
export async function exchangeRecords<Told>(
  { rank, worldSize }: { readonly rank: number; readonly worldSize: number },
  told: Told,
  gather: (records: Uint8Array<ArrayBuffer>) => Promise<unknown>,
): Promise<(Told | undefined)[]> {
  const records = new Uint8Array(worldSize * recordBytes);
  const of = (index: number): Uint8Array => records.subarray(index * recordBytes, (index + 1) * recordBytes);
  new TextEncoder().encodeInto(JSON.stringify(told), of(rank));
  await gather(records);
  return Array.from({ length: worldSize }, (_, index) => read<Told>(of(index)));
}

function read<Told>(record: Uint8Array): Told | undefined {
  try {
    return JSON.parse(new TextDecoder().decode(record).replace(/\0+$/, "")) as Told;
  } catch {
    return undefined;
  }
}
