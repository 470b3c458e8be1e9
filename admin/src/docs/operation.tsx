// One operation: its description, its parameters, samples, its replies, and a form that sends it.

import { useEffect, useRef, useState } from 'preact/hooks';
import { Field, fields } from '../ui';
import { type Media, type Operation, sample } from './document';
import { type Request, SAMPLES } from './samples';
import { Fields } from './schema';

const pretty = (value: unknown): string => JSON.stringify(value, null, 2);
export const Json = ({ value }: { value: unknown }) => <pre tabIndex={0}>{pretty(value)}</pre>;
// The most characters of a reply to show; a stream has no end.
const MOST = 1_000_000;
const exampleOf = (media: Media | undefined): unknown => media && (media.example ?? sample(media.schema));

export function Entry({ operation, base, key_ }: { operation: Operation; base: string; key_: string }) {
  const { id, method, path, summary } = operation;
  return (
    <details class="entry" id={id}>
      <summary><span class={`method ${method.toLowerCase()}`}>{method}</span><code>{path}</code><span class="muted">{summary}</span></summary>
      <Content operation={operation} base={base} key_={key_} />
    </details>
  );
}

function Content({ operation, base, key_ }: { operation: Operation; base: string; key_: string }) {
  const isUpgrade = operation.answers.some(([status]) => status === '101');
  const [values, setValues] = useState(() => examples(operation));
  const media = operation.body?.['application/json'];
  const [body, setBody] = useState(media ? pretty(exampleOf(media)) : undefined);
  const request = written(operation, base, values, body);
  return (
    <div>
      {operation.description && <p>{operation.description}</p>}
      {operation.parameters.length > 0 && <Parameters operation={operation} />}
      {media?.schema && <><h4>Body</h4><Fields schema={media.schema} /></>}
      {!isUpgrade && <Samples request={request} />}
      {!isUpgrade && <Trial operation={operation} request={request} body={body} setBody={setBody} setValues={setValues} key_={key_} />}
      <h4>Answers</h4>
      {operation.answers.map(([status, answer]) => (
        <details>
          <summary><code>{status}</code> {answer.description}</summary>
          {Object.entries(answer.content ?? {}).map(([type, media]) => (
            <div>
              <p><code>{type}</code></p>
              {type === 'application/json' && <Json value={exampleOf(media)} />}
              {media.schema && <Fields schema={media.schema} />}
            </div>
          ))}
        </details>
      ))}
    </div>
  );
}

// With these values the request works unchanged, or names something that does not exist.
const examples = ({ parameters }: Operation): Record<string, string> =>
  Object.fromEntries(parameters.filter(({ example }) => example !== undefined).map(({ name, example }) => [name, String(example)]));

function Parameters({ operation }: { operation: Operation }) {
  return (
    <>
      <h4>Parameters</h4>
      <ul class="fields">
        {operation.parameters.map(({ name, in: place, required, description, schema }) => (
          <li>
            <code><strong>{name}</strong></code>{' '}
            <span class="muted">in the {place}, {required || place === 'path' ? 'required' : 'optional'}</span>
            {description && <div>{description}</div>}
            {schema?.enum && <div class="muted">{schema.enum.map((value) => <code>{String(value)} </code>)}</div>}
          </li>
        ))}
      </ul>
    </>
  );
}

function written({ method, path, parameters, guarded }: Operation, base: string, values: Record<string, string>, body?: string): Request {
  let url = location.origin + base + path;
  const query = new URLSearchParams();
  for (const { name, in: place } of parameters) {
    const value = values[name] ?? '';
    if (place === 'path') url = url.replace(`{${name}}`, value ? encodeURIComponent(value) : `{${name}}`);
    else if (place === 'query' && value !== '') query.set(name, value);
  }
  const headers: [string, string][] = guarded ? [['Authorization', 'Bearer YOUR_KEY']] : [];
  if (body !== undefined) headers.push(['Content-Type', 'application/json']);
  return { method, url: query.size > 0 ? `${url}?${query}` : url, headers, body };
}

function Samples({ request }: { request: Request }) {
  const [chosen, setChosen] = useState('curl');
  const text = SAMPLES[chosen]!(request);
  return (
    <>
      <div class="samples">
        <h4>Request</h4>
        <select aria-label="Language" value={chosen} onChange={({ currentTarget }) => setChosen(currentTarget.value)}>
          {Object.keys(SAMPLES).map((name) => <option>{name}</option>)}
        </select>
        <button type="button" class="quiet" onClick={() => void navigator.clipboard?.writeText(text)}>Copy</button>
      </div>
      <pre tabIndex={0} class="sample">{text}</pre>
    </>
  );
}

function Trial({ operation, request, body, setBody, setValues, key_ }: {
  operation: Operation; request: Request; body?: string;
  setBody: (body: string) => void; setValues: (values: Record<string, string>) => void; key_: string;
}) {
  const [answer, setAnswer] = useState<{ status: string; text: string } | null>(null);
  const [busy, setBusy] = useState(false);
  const stop = useRef<AbortController | null>(null);
  useEffect(() => () => stop.current?.abort(), []);
  const send = async (event: Event): Promise<void> => {
    event.preventDefault();
    stop.current?.abort();
    const { signal } = stop.current = new AbortController();
    setBusy(true);
    const headers = Object.fromEntries(request.headers.filter(([name]) => name !== 'Authorization'));
    if (key_) headers.Authorization = `Bearer ${key_}`;
    setAnswer({ status: 'Sent; no answer yet.', text: '' });
    try {
      const response = await fetch(request.url, { method: request.method, headers, body, signal });
      const status = `${response.status} ${response.statusText}`;
      let text = '';
      for (const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader(); reader && text.length < MOST;) {
        const { value, done } = await reader.read();
        if (done) break;
        setAnswer({ status, text: text += value });
      }
      try { text = pretty(JSON.parse(text)); } catch { /* not JSON */ }
      setAnswer({ status, text });
    } catch (failure) {
      if (!signal.aborted) setAnswer({ status: `No answer: ${(failure as Error).message}`, text: '' });
    }
    if (stop.current?.signal === signal) setBusy(false);
  };
  return (
    <form class="trial" onSubmit={(event) => void send(event)} onInput={(event) => setValues(fields(event))}>
      {operation.parameters.filter((each) => each.in !== 'header').map(({ name, in: place, required }) => (
        <Field label={name} name={name} defaultValue={examples(operation)[name] ?? ''} required={required || place === 'path'} spellcheck={false} autocomplete="off" />
      ))}
      {body !== undefined && (
        <label class="field"><span>Body</span>
          <textarea rows={Math.min(14, body.split('\n').length + 1)} spellcheck={false} value={body} onInput={({ currentTarget }) => setBody(currentTarget.value)} />
        </label>
      )}
      <button>Send</button> {busy && <button type="button" class="quiet" onClick={() => stop.current?.abort()}>Stop</button>}
      <div aria-live="polite" class="answer">
        {answer && <p><strong>{answer.status}</strong></p>}
        {answer?.text && <pre tabIndex={0}>{answer.text}</pre>}
      </div>
    </form>
  );
}
