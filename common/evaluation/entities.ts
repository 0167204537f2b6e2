// Entities in sequences of tags, as seqeval reads them by default (and the conlleval script of CoNLL-2000 before it): B
// begins an entity, I goes on with it, E ends it, S is one of a single token, O is none. Wrong sequences are read
// generously: an I without a beginning begins one, and so does a change of type. Pure.
//
//     B-PER I-PER O     I-LOC B-LOC I-ORG
//     [ PER     ]       [LOC] [LOC] [ORG]

export interface Entity {
  readonly type: string;
  readonly start: number;
  /** Behind its last tag. */
  readonly end: number;
}

/**
 * The types of entity, in the order of their first label; undefined when the labels do not mark entities: when one is
 * neither O nor of the form B-PER, I-PER, E-PER or S-PER, or none begins one.
 */
export function entityTypes(labels: readonly string[]): string[] | undefined {
  const marks = labels.filter((label) => label !== "O");
  if (marks.length === 0 || !marks.every((label) => /^[BIES]-./.test(label))) return undefined;
  return [...new Set(marks.map(typeOf))];
}

/** In order. Every tag is O or of the form B-PER. */
export function entitiesOf(tags: readonly string[]): Entity[] {
  const entities: Entity[] = [];
  let start = -1;
  for (let i = 0; i <= tags.length; i++) {
    const [before, tag] = [tags[i - 1] ?? "O", tags[i] ?? "O"];
    const isOther = typeOf(before) !== typeOf(tag);
    const hasEnded = /^[ES]/.test(before) || /^[BSO]/.test(tag) || isOther;
    if (start !== -1 && hasEnded) {
      entities.push({ type: typeOf(before), start, end: i });
      start = -1;
    }
    if (start === -1 && tag !== "O") start = i;
  }
  return entities;
}

/** "PER" of "B-PER", "" of "O". */
function typeOf(tag: string): string {
  return tag.slice(2);
}
