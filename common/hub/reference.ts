// The name of a repository on the Hub, as people write it: "gpt2", "openai-community/gpt2", "openai-community/gpt2@main".
// A path is none: whoever starts with a dot, a slash or a tilde means a folder.

export interface HubReference {
  /** "openai-community/gpt2" */
  readonly name: string;
  /** A branch, a tag or a commit. */
  readonly revision: string;
}

const pattern = /^([A-Za-z0-9][\w.-]{0,95}(?:\/[A-Za-z0-9][\w.-]{0,95})?)(?:@([\w./-]{1,200}))?$/;

/** Undefined for what can't be the name of a repository. */
export function parseReference(text: string, revision?: string): HubReference | undefined {
  const [, name, own] = pattern.exec(text) ?? [];
  if (name === undefined || /--|\.\.|\.git$/.test(name)) return undefined;
  const found = revision ?? own ?? "main";
  return found.split("/").includes("..") || found.startsWith("/") ? undefined : { name, revision: found };
}
