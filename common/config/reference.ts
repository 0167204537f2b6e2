// docs/config.md, written from the schema: `ringtune config docs`. A test fails when the file is stale.

import { markdownTable } from "../markdown-table.ts";
import { fields, sections, type Field } from "./fields.ts";

const opening = `# Configuration

<!-- Written by \`ringtune config docs\`; change common/config/sections, not this file. -->

A run is described by one YAML file. Every key has a default except the length of the run: give \`train.steps\` or
\`train.epochs\`. Paths are relative to the folder that \`ringtune\` is started in.

- \`ringtune config check FILE\` says everything that is wrong with a file, or prints it with all defaults filled in.
- \`--set train.learning_rate=3e-4\` changes one key from the command line, as often as needed. The value is YAML or JSON
  (\`--set 'data.source=[a.txt, b.txt]'\`); \`null\` takes a key out of the file, so that its default holds.
- \`ringtune config schema > ringtune.schema.json\` writes a JSON Schema. With
  \`# yaml-language-server: $schema=ringtune.schema.json\` as the first line, editors complete and check the file.
`;

/** The reference of all keys as Markdown, a table a section. */
export function configReference(): string {
  const parts = [opening];
  for (const section of sections.values()) {
    if (section.path === "") continue;
    const own = section.keys.flatMap((key) => fields.get(`${section.path}.${key}`) ?? []);
    const rows = [["key", "value", "default", "meaning"], ...own.map(cells)];
    parts.push(`## ${section.path}\n\n${section.description}\n\n${markdownTable(rows)}\n`);
  }
  return parts.join("\n");
}

function cells(field: Field): string[] {
  const key = field.path.slice(field.path.lastIndexOf(".") + 1);
  const fallback = field.default === undefined ? "" : `\`${JSON.stringify(field.default)}\``;
  return [`\`${key}\``, field.expected, fallback, field.description];
}
