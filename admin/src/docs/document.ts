// The two documents for the page: references are resolved, and parts that this listener does not serve are left out.

export interface Schema {
  type?: string | string[];
  description?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  enum?: unknown[];
  const?: unknown;
  oneOf?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
  default?: unknown;
  example?: unknown;
  examples?: unknown[];
  format?: string;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  $ref?: string;
}

export interface Media { schema?: Schema; example?: unknown }
export interface Parameter { name: string; in: string; description?: string; required?: boolean; schema?: Schema; example?: unknown }
export interface Answer { description: string; content?: Record<string, Media> }

export interface Operation {
  id: string;
  method: string;
  path: string;
  tag: string;
  summary: string;
  description?: string;
  parameters: Parameter[];
  body?: Record<string, Media>;
  answers: [string, Answer][];
  // Whether a key or a token may be sent.
  guarded: boolean;
}

export interface Message { name: string; side: 'client' | 'server'; summary: string; payload: Schema; examples: unknown[] }
export interface Channel { name: string; address: string; description: string; query: [string, Schema][]; messages: Message[] }
export interface Tag { name: string; description?: string; operations: Operation[] }

export interface Documents {
  version: string;
  summary: string;
  base: string;
  dialects: string[];
  tags: Tag[];
  channels: Channel[];
}

type Json = any; // eslint-disable-line -- a document from outside, read once and given its types here

// `value` with its references into `root` resolved, except those of a schema to itself.
function resolved(root: Json, value: Json, seen: string[] = []): Json {
  if (Array.isArray(value)) return value.map((item) => resolved(root, item, seen));
  if (value === null || typeof value !== 'object') return value;
  const target = value.$ref;
  if (typeof target === 'string') {
    if (seen.includes(target)) return value;
    const keys = target.slice(2).split('/').map((key) => key.replace(/~1/g, '/').replace(/~0/g, '~'));
    return resolved(root, keys.reduce((at, key) => at?.[key], root), [...seen, target]);
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolved(root, item, seen)]));
}

function operation(root: Json, path: string, method: string, found: Json): Operation {
  const own = resolved(root, found);
  return {
    id: own.operationId ?? `${method}${path}`,
    method: method.toUpperCase(),
    path,
    tag: own.tags[0],
    summary: own.summary ?? '',
    description: own.description,
    parameters: own.parameters ?? [],
    body: own.requestBody?.content,
    answers: Object.entries(own.responses ?? {}),
    guarded: (own.security ?? []).some((way: object) => Object.keys(way).length > 0),
  };
}

function channel(root: Json, name: string, found: Json): Channel {
  const messages = Object.entries<Json>(found.messages).map(([key, message]): Message => {
    const own = resolved(root, message);
    return {
      name: own.name,
      side: key.startsWith('client.') ? 'client' : 'server',
      summary: own.summary ?? '',
      payload: own.payload ?? {},
      examples: (own.examples ?? []).map((example: Json) => example.payload),
    };
  });
  return {
    name,
    address: found.address,
    description: found.description ?? '',
    query: Object.entries<Schema>(found.bindings?.ws?.query?.properties ?? {}),
    messages,
  };
}

async function read(name: string, key: string): Promise<Json> {
  const response = await fetch(name, key ? { headers: { Authorization: `Bearer ${key}` } } : {});
  if (!response.ok) throw new Error(`${name} is answered with ${response.status}`);
  return response.json();
}

export async function load(key: string): Promise<Documents> {
  const [routes, messages] = await Promise.all([read('openapi.json', key), read('asyncapi.json', key)]);
  const server = routes.servers[0];
  const dialects: string[] = server['x-dialects'];
  const isHere = (of?: string[]): boolean => of === undefined || of.some((name) => dialects.includes(name));
  const operations = Object.entries<Json>(routes.paths).flatMap(([path, methods]) =>
    Object.entries<Json>(methods)
      .filter(([, found]) => isHere(found['x-dialects']))
      .map(([method, found]) => operation(routes, path, method, found)));
  const tags: Tag[] = routes.tags.map(({ name, description }: Json) =>
    ({ name, description, operations: operations.filter(({ tag }) => tag === name) }));
  return {
    version: routes.info.version,
    summary: routes.info.summary,
    base: server.url.replace(/\/$/, ''),
    dialects,
    tags: tags.filter((tag) => tag.operations.length > 0),
    channels: Object.entries<Json>(messages.channels).filter(([name]) => isHere([name]))
      .map(([name, found]) => channel(messages, name, found)),
  };
}

// An example value of `schema`, for a field of a form.
export function sample(schema: Schema | undefined, depth = 0): unknown {
  if (!schema || depth > 6) return null;
  for (const given of [schema.example, schema.examples?.[0], schema.const, schema.default, schema.enum?.[0]]) {
    if (given !== undefined) return given;
  }
  const choice = schema.oneOf?.find(({ type }) => type !== 'null') ?? schema.anyOf?.[0];
  if (choice) return sample(choice, depth + 1);
  if (schema.allOf) return Object.assign({}, ...schema.allOf.map((part) => sample(part, depth + 1)));
  const type = Array.isArray(schema.type) ? schema.type.find((each) => each !== 'null') : schema.type;
  if (type === 'object' || schema.properties) {
    const wanted = Object.entries(schema.properties ?? {}).filter(([name]) => schema.required?.includes(name));
    return Object.fromEntries(wanted.map(([name, part]) => [name, sample(part, depth + 1)]));
  }
  const simple: Record<string, unknown> = { array: [], integer: 1, number: 1, boolean: true, string: 'text' };
  return type === undefined ? null : simple[type];
}
