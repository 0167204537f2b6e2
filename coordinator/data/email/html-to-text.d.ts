// What is used of html-to-text, which has no types of its own.

declare module "html-to-text" {
  interface Element {
    readonly attribs?: Readonly<Record<string, string>>;
  }
  interface Builder {
    addInline(text: string): void;
  }
  interface Options {
    readonly wordwrap: false;
    readonly limits: { readonly maxDepth: number; readonly ellipsis: string };
    readonly formatters: Readonly<
      Record<string, (element: Element, walk: unknown, builder: Builder, options: unknown) => void>
    >;
    readonly selectors: readonly {
      readonly selector: string;
      readonly format?: string;
      readonly options?: Readonly<Record<string, unknown>>;
    }[];
  }
  export function compile(options: Options): (html: string) => string;
}
