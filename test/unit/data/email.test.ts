import { expect, test } from "vitest";
import { htmlToText } from "../../../coordinator/data/email/html-text.ts";
import { parseEmail } from "../../../coordinator/data/email/parse-email.ts";
import { loadSpamAssassin, withoutTag, withoutTraces } from "../../../coordinator/data/email/spam-assassin.ts";

const mail = (...lines: string[]): Buffer => Buffer.from(lines.join("\r\n"), "latin1");

test("gives subject and body, and no other header", async () => {
  const raw = mail(
    "From fork-admin@xent.com Thu Aug 22 13:17:22 2002",
    "Received: from relay.example",
    "X-Spam-Status: No, hits=-5.1",
    "Subject: =?iso-8859-1?Q?Caf=E9?=",
    "  au lait",
    "Date: Thu, 22 Aug 2002 13:17:22 +0100",
    "",
    "First line  ",
    "second line",
    "",
  );
  expect(await parseEmail(raw)).toEqual({ subject: "Café au lait", body: "First line\nsecond line" });
});

test("takes the plain text of nested parts, decodes it, and leaves attachments out", async () => {
  const raw = mail(
    "Subject: nested",
    'Content-Type: multipart/mixed; boundary="outer"',
    "",
    "a preamble that nobody sees",
    "--outer",
    'Content-Type: multipart/alternative; boundary="inner"',
    "",
    "--inner",
    "Content-Type: text/plain; charset=koi8-r",
    "Content-Transfer-Encoding: base64",
    "",
    "8NLJ18XUIQ==",
    "--inner",
    "Content-Type: text/html",
    "",
    "<p>HTML</p>",
    "--inner--",
    "--outer",
    'Content-Type: application/octet-stream; name="virus.exe"',
    "Content-Disposition: attachment",
    "Content-Transfer-Encoding: base64",
    "",
    "TVqQAAMAAAAEAAAA",
    "--outer--",
  );
  expect((await parseEmail(raw)).body).toBe("Привет!");
});

test("reads HTML where there is nothing else, in quoted-printable", async () => {
  const raw = mail(
    "Subject: offer",
    "Content-Type: text/html; charset=windows-1252",
    "Content-Transfer-Encoding: quoted-printable",
    "",
    '<html><head><title>no</title><style>p{}</style></head><body><h1>Free=20=80 5</h1><p>Click <a href=3D"http=',
    '://x">here</a></body></html>',
  );
  expect((await parseEmail(raw)).body).toBe("Free € 5\n\nClick here");
});

test("reads a mail of an unknown charset, and one whose charset is wrong", async () => {
  const withCharset = (charset: string): Buffer =>
    mail("Subject: x", `Content-Type: text/plain; charset=${charset}`, "", "na\xefve caf\xe9");
  expect((await parseEmail(withCharset("no-such-charset"))).body).toBe("naïve café");
  expect((await parseEmail(withCharset("utf-8"))).body).toBe("na�ve caf�");
  expect((await parseEmail(withCharset('"'))).body).toContain("caf");
});

test("reads a multipart mail whose boundary is missing or never occurs as one text", async () => {
  const part = ["--other", "Content-Type: text/plain", "", "the message itself", "--other--"];
  for (const type of ["multipart/mixed", 'multipart/alternative; boundary="wrong"']) {
    const { body } = await parseEmail(mail("Subject: x", `Content-Type: ${type}`, "", ...part));
    expect(body).toContain("the message itself");
  }
});

test("reads what is no mail at all without an error", async () => {
  expect(await parseEmail(Buffer.alloc(0))).toEqual({ subject: "", body: "" });
  const { subject, body } = await parseEmail(mail("Subject: a\0b", "", "c\0\x07d\rnew\x1b[1m"));
  expect(subject).toBe("a b");
  expect(body).toBe("c  d\nnew [1m");
  const deep = mail(
    "Subject: deep",
    ...Array.from({ length: 400 }, (_, i) => `Content-Type: multipart/mixed; boundary=b${i}\r\n\r\n--b${i}`),
  );
  expect((await parseEmail(deep)).subject).toMatch(/^(deep)?$/);
});

test("puts cells, paragraphs and lines apart, and shows what stands for a picture", () => {
  expect(htmlToText("<table><tr><td>A</td><td>B</td></tr></table>")).toBe("A\nB");
  expect(htmlToText("x<b>y</b>z &nbsp; &euro;&bogus; <!-- c --><script>alert(1)</script>")).toBe("xyz €&bogus;");
  expect(htmlToText('<img alt="Big sale" src="http://x/y.gif">now<fon')).toBe("Big sale now");
});

test("cuts HTML that is nested without end", () => {
  const nested = "<div><font size=7>".repeat(20_000);
  expect(htmlToText(`<p>begin</p>${nested}`).startsWith("begin")).toBe(true);
});

test("leaves out what lists and SpamAssassin put into subjects and bodies", () => {
  expect(withoutTag("Re: [ILUG] Sun Solaris")).toBe("Re: Sun Solaris");
  expect(withoutTag("*****SPAM***** Buy [now]")).toBe("Buy [now]");
  const footer = `${"_".repeat(47)}\nRazor-users mailing list\nRazor-users@lists.sourceforge.net\nhttps://lists.sourceforge.net/listinfo/razor-users`;
  const advertisement = `${"-".repeat(55)}\nThis sf.net email is sponsored by:ThinkGeek\nhttp://thinkgeek.com/sf`;
  expect(withoutTraces(`Hello\n\n${advertisement}\n${footer}`)).toBe("Hello");
  expect(
    withoutTraces(`Buy now --DeathToSpamDeathToSpamDeathToSpam-- ${advertisement.replaceAll("\n", " ")} ${footer}`),
  ).toBe("Buy now");
  expect(withoutTraces("SPAM: Content analysis details\nSPAM: (5.3 hits)\nHello")).toBe("Hello");
  expect(withoutTraces("URL: http://www.newsisfree.com/click/-1\nDate: 2002-09-26T01:15:08+01:00\n\n(me)")).toBe(
    "(me)",
  );
  expect(withoutTraces("a\nhttp://xent.com/mailman/listinfo/fork\n")).toBe("a");
  expect(withoutTraces(`my ${"_".repeat(40)} line\nand much more text`)).toBe(
    `my ${"_".repeat(40)} line\nand much more text`,
  );
});

test("loads the mails of the corpus, ham and spam, none empty, none with a header", async () => {
  const mails = await loadSpamAssassin({ every: 50 });
  const count = (label: string): number => mails.filter((one) => one.label === label).length;
  expect([mails.length, count("ham"), count("spam")]).toEqual([121, 83, 38]);
  expect(mails.filter(({ text }) => text.trim() === "").map(({ id }) => id)).toEqual([]);
  expect(new Set(mails.map(({ id }) => id)).size).toBe(121);
  const headers = /^(X-Spam-[\w-]+|List-Id|Delivered-To|Received|Date): /m;
  expect(mails.filter(({ text }) => headers.test(text.split("\n\n")[0] ?? "")).map(({ id }) => id)).toEqual([]);
  expect(mails[0]).toMatchObject({ id: "easy-ham-1/00001", label: "ham" });
  expect(mails[0]?.text.startsWith("Re: New Sequences Window\n\n")).toBe(true);
});
