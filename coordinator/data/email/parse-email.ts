// A raw e-mail (RFC 5322, MIME) as the two things that a person reads: subject and body. Of several forms of one body the
// plain text counts, else the HTML's text; attachments and all other headers are left out. The only file that imports
// postal-mime, which does the parts, transfer encodings and charsets.

import PostalMime, { type Email } from "postal-mime";
import { htmlToText } from "./html-text.ts";

export interface EmailText {
  /** One line; empty when there is none. */
  readonly subject: string;
  /** Lines ended by \n; empty when there is none. */
  readonly body: string;
}

/**
 * Mail is what it is: an unknown charset is read as windows-1252, a damaged part as far as it goes, a multipart message
 * whose boundary does not occur as one text. Never throws for what is in the mail.
 */
export async function parseEmail(raw: Uint8Array): Promise<EmailText> {
  const bytes = withoutEnvelope(Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength));
  const { subject = "", text = "", html = "" } = await parseLeniently(bytes);
  const body = [() => text, () => htmlToText(html), () => undividedBody(bytes)].reduce(
    (found, read) => (found === "" ? tidy(read()) : found),
    "",
  );
  return { subject: tidy(subject).replace(/\s+/g, " "), body };
}

/** Its only errors are limits of nesting and of headers: what is beyond them is read as one text. */
async function parseLeniently(bytes: Buffer): Promise<Partial<Pick<Email, "subject" | "text" | "html">>> {
  try {
    return await PostalMime.parse(bytes, { rfc822Attachments: false });
  } catch {
    return {};
  }
}

/** Without the "From sender date" line that mbox files put before each mail. */
function withoutEnvelope(bytes: Buffer): Buffer {
  return bytes.subarray(0, 5).toString("latin1") === "From " ? bytes.subarray(bytes.indexOf("\n") + 1) : bytes;
}

/** Of a multipart message, everything after the headers, when no part was found in it. */
function undividedBody(bytes: Buffer): string {
  const mail = bytes.toString("latin1").replaceAll("\r\n", "\n");
  const end = mail.indexOf("\n\n");
  if (end < 0 || !/^content-type:\s*multipart\//im.test(mail.slice(0, end))) return "";
  const body = mail.slice(end + 2);
  return /<(html|body|br|p|table)\b/i.test(body) ? htmlToText(body) : body;
}

/** What bytes 0x80 to 0x9f are in windows-1252; Node's decoder of that name reads them as latin1 does, as controls. */
const windows1252 = "€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ";

/** Line ends are \n; no control characters, which are no text. */
function tidy(text: string): string {
  return text
    .replace(/\r\n?/g, "\n")
    .replace(/[\u0080-\u009f]/g, (control) => windows1252[control.charCodeAt(0) - 0x80] ?? " ")
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\ufeff]/g, " ")
    .replace(/[^\S\n]+$/gm, "")
    .trim();
}
