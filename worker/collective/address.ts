// The address of a worker's endpoint as other ranks get it: one text for every way to reach it, from which any two ranks find
// the fastest that both have. "tcp://10.0.0.5:41234;ipc=@ringtune-5f0c;host=9a31;memory;curve=rq:rM>}U?@Lns47E1..."
//
// The public key comes the same way: over the workers' streams to the coordinator and back, which prove who sends it. It
// is no secret. Z85 has no semicolon.

/** The fastest way to an endpoint that its address tells of; each has those after it too. */
export type Reach = "memory" | "ipc" | "tcp";

export interface EndpointAddress {
  /** "tcp://10.0.0.5:41234" */
  readonly tcp: string;
  /** "ipc://@name", for ranks on the same host. */
  readonly ipc?: string;
  /** See host-identity.ts; empty if unknown, and then like no other. */
  readonly host: string;
  /** Whether ranks on the same host may map its memory. */
  readonly memory: boolean;
  /** Public key of its CURVE server, if the ring is encrypted; see curve.ts. */
  readonly curve?: string;
}

export function describeAddress({ tcp, ipc, host, memory, curve }: EndpointAddress): string {
  const key = curve === undefined ? [] : [`curve=${curve}`];
  if (ipc === undefined && !memory) return [tcp, ...key].join(";");
  const local = ipc === undefined ? [] : [`ipc=${ipc.slice("ipc://".length)}`];
  return [tcp, ...local, `host=${host}`, ...(memory ? ["memory"] : []), ...key].join(";");
}

/** Never throws: what is no address fails when it is connected to. Unknown ways are left out. */
export function parseAddress(text: string): EndpointAddress {
  const [tcp = "", ...fields] = text.split(";");
  const field = (name: string): string | undefined =>
    fields.find((each) => each.startsWith(`${name}=`))?.slice(name.length + 1);
  const [ipc, curve] = [field("ipc"), field("curve")];
  return {
    tcp,
    host: field("host") ?? "",
    memory: fields.includes("memory"),
    ...(ipc === undefined ? {} : { ipc: `ipc://${ipc}` }),
    ...(curve === undefined ? {} : { curve }),
  };
}

/** Where to connect to. */
export function pathBetween(own: EndpointAddress, other: EndpointAddress): string {
  return sameHost(own, other) && own.ipc !== undefined && other.ipc !== undefined ? other.ipc : other.tcp;
}

/** Whether ranks on its host, whose addresses say so too, may map its memory. */
export function isShareable({ memory, host }: EndpointAddress): boolean {
  return memory && host !== "";
}

/** A name for the host that it is on: who has the same is not reached over a wire. */
export function hostName({ host, tcp }: EndpointAddress): string {
  return host === "" ? tcp.replace(/:\d+$/, "") : host;
}

/** The same answer on every rank, like the one above. */
export function areOnOneHost(addresses: readonly string[]): boolean {
  const [first, ...others] = addresses.map(parseAddress);
  return first !== undefined && others.every((other) => sameHost(first, other));
}

function sameHost(a: EndpointAddress, b: EndpointAddress): boolean {
  return a.host !== "" && a.host === b.host;
}
