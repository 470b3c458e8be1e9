// A schema as a list of its fields, each with its type, its limits and its description.

import type { Schema } from './document';

const some = (value: unknown): value is number => value !== undefined;

function limits(schema: Schema): string[] {
  const range = (least: number | undefined, most: number | undefined, unit: string): string[] => {
    if (some(least) && some(most)) return [`${least} to ${most}${unit}`];
    if (some(most)) return [`at most ${most}${unit}`];
    return some(least) && least > 0 ? [`at least ${least}${unit}`] : [];
  };
  return [
    ...range(schema.minimum, schema.maximum, ''),
    ...range(schema.minLength, schema.maxLength, ' long'),
    ...range(schema.minItems, schema.maxItems, ' items'),
    ...(schema.default === undefined ? [] : [`default ${JSON.stringify(schema.default)}`]),
  ];
}

function typeOf(schema: Schema): string {
  if (schema.$ref) return schema.$ref.split('/').at(-1)!;
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return [...new Set(choices.map(typeOf))].join(' | ');
  const types = ([] as string[]).concat(schema.type ?? (schema.properties ? 'object' : 'any JSON'));
  return types.map((type) => (type === 'array' && schema.items ? `list of ${typeOf(schema.items)}` : type))
    .join(' | ') + (schema.format ? ` (${schema.format})` : '');
}

// The alternatives of `schema`.
const inner = (schema: Schema): Schema[] =>
  [...(schema.oneOf ?? []), ...(schema.anyOf ?? []), ...(schema.allOf ?? []), ...(schema.items ? [schema.items] : [])];

function objects(schema: Schema, depth: number): Schema[] {
  if (schema.properties) return [schema];
  const found = depth > 4 ? [] : inner(schema).flatMap((part) => objects(part, depth + 1));
  // A schema and a list of the same schema are shown once.
  const texts = found.map((each) => JSON.stringify(each));
  return found.filter((_, index) => texts.indexOf(texts[index]!) === index);
}

export function Fields({ schema, depth = 0 }: { schema: Schema; depth?: number }) {
  const found = objects(schema, 0);
  if (found.length === 0) {
    return depth > 0 ? null : <p><code>{typeOf(schema)}</code> <span class="muted">{[...limits(schema), schema.description].filter(Boolean).join('; ')}</span></p>;
  }
  return (
    <>
      {depth === 0 && found.length === 1 && !schema.properties && <p class="muted"><code>{typeOf(schema)}</code></p>}
      {found.map((object, index) => (
        <>
          {index > 0 && <p class="muted">or</p>}
          <ul class="fields">
            {Object.entries(object.properties ?? {}).map(([name, part]) => (
              <li key={name}>
                <code><strong>{name}</strong></code>{' '}
                <span class="muted"><code>{typeOf(part)}</code>{[object.required?.includes(name) ? 'required' : 'optional', ...limits(part)].map((text) => `, ${text}`)}</span>
                {part.description && <div>{part.description}</div>}
                {depth < 4 && <Fields schema={part} depth={depth + 1} />}
              </li>
            ))}
          </ul>
        </>
      ))}
    </>
  );
}
