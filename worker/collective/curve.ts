// Who may connect to a ring that is encrypted with CURVE: ZeroMQ encrypts and proves keys by itself, and asks over ZAP
// (RFC 27, "is this client let in?") before a client's first message can come. The answer is yes for the members of the
// generation and nothing for everybody else: a client without an answer waits, sends nothing that anybody reads, and is
// cut off after a while. So a member that is ahead of this rank gets in at the moment when this rank forms the generation
// too, and strangers never. Pure: the sockets are zeromq.ts's.

/** As ZeroMQ makes them, in Z85 (RFC 32): 40 characters for 32 bytes. */
export interface CurveKeys {
  readonly publicKey: string;
  readonly secretKey: string;
}

export interface Doorkeeper {
  /** From now on these public keys are let in, and those of earlier calls no more. */
  admit(publicKeys: readonly string[]): void;
  /** A ZAP request with the envelope of its sender before it. */
  request(parts: readonly Uint8Array[]): void;
}

/** CURVE adds a name, a nonce, an authentication tag and a flag to each part. */
export const curveOverheadBytes = 64;

/** Clients that wait for an answer; the oldest gives way. Each is a connection that ZeroMQ holds open meanwhile. */
const maxWaiting = 256;

const empty = new Uint8Array(0);
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

/** `answer` sends a reply of ZAP to whoever asked. */
export function createDoorkeeper(answer: (reply: readonly Uint8Array[]) => void): Doorkeeper {
  let admitted = new Set<string>();
  const waiting: { readonly key: string; readonly letIn: readonly Uint8Array[] }[] = [];
  return {
    admit(publicKeys) {
      admitted = new Set(publicKeys);
      for (const each of waiting.splice(0)) {
        if (admitted.has(each.key)) answer(each.letIn);
        else waiting.push(each);
      }
    },
    request(parts) {
      // envelope..., "", version, request id, domain, address, identity, mechanism, credentials...
      const gap = parts.findIndex((part) => part.length === 0);
      const [version, id, , , , mechanism, credential] = parts.slice(gap + 1);
      if (version === undefined || id === undefined || credential?.length !== 32) return;
      if (new TextDecoder().decode(mechanism) !== "CURVE") return;
      const key = encodeZ85(credential);
      // ..., version, request id, status code, status text, user id, metadata
      const letIn = [...parts.slice(0, gap + 1), version, id, bytesOf("200"), bytesOf("OK"), empty, empty];
      if (admitted.has(key)) return answer(letIn);
      waiting.push({ key, letIn });
      if (waiting.length > maxWaiting) waiting.shift();
    },
  };
}

const z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/** Whether the text is a public key; nothing else may reach ZeroMQ, which throws. */
export function isCurveKey(text: string): boolean {
  return text.length === 40 && [...text].every((character) => z85.includes(character));
}

/** Five characters for four bytes. */
export function encodeZ85(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let text = "";
  for (let at = 0; at < bytes.length; at += 4) {
    const word = view.getUint32(at);
    for (const power of [85 ** 4, 85 ** 3, 85 ** 2, 85, 1]) text += z85.charAt(Math.floor(word / power) % 85);
  }
  return text;
}
