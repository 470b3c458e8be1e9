// Published events, live.

import { useEffect, useRef, useState } from 'preact/hooks';
import { Failure, query, stream, type TailEvent, type TailLine } from '../api';
import { Data, Field, fields, Note } from '../ui';

// The most lines to show; older ones are removed. A burst is rendered at once.
const SHOWN = 200;
const GATHERING_MS = 200;
const AGAIN_MS = 1000;

interface Shown {
  key: number;
  event?: TailEvent;
  lost?: number;
}

export function LiveTail({ asked }: { asked: URLSearchParams }) {
  const [wanted, setWanted] = useState<Record<string, string> | null>(null);
  return (
    <section>
      <h2>What is published, live</h2>
      <form onSubmit={(event) => setWanted(fields(event))}>
        <Field label="User" name="user" defaultValue={asked.get('tailUser') ?? ''} />
        <Field label="Channel or pattern" name="channel" defaultValue={asked.get('tailChannel') ?? ''} placeholder="chat.*" />
        <label class="check"><input type="checkbox" name="everyone" value="true" />for everyone</label>
        <label class="check"><input type="checkbox" name="data" value="true" />with data, which needs the scope admin</label>
        <p><button>Listen</button> {wanted && <button type="button" class="quiet" onClick={() => setWanted(null)}>Stop</button>}</p>
      </form>
      {wanted && <Lines key={JSON.stringify(wanted)} wanted={wanted} />}
    </section>
  );
}

function Lines({ wanted }: { wanted: Record<string, string> }) {
  const [lines, setLines] = useState<Shown[]>([]);
  const [state, setState] = useState('Connecting…');
  const [error, setError] = useState('');
  const gathered = useRef<Shown[]>([]);
  useEffect(() => {
    const stopped = new AbortController();
    let next = 0;
    let end = { code: '', message: '' };
    const take = (line: TailLine): void => {
      if (line.open) setState('Listening.');
      if (line.end) end = line.end;
      const shown = { key: next++, ...(line.event && { event: line.event }), ...(line.lost && { lost: line.lost }) };
      if (line.event || line.lost) gathered.current = [shown, ...gathered.current].slice(0, SHOWN);
    };
    const timer = setInterval(() => {
      const fresh = gathered.current;
      gathered.current = [];
      if (fresh.length > 0) setLines((old) => [...fresh, ...old].slice(0, SHOWN));
    }, GATHERING_MS);
    const listen = async (): Promise<void> => {
      while (!stopped.signal.aborted) {
        end = { code: '', message: '' };
        try {
          await stream(`tail${query(wanted)}`, take, stopped.signal);
        } catch (failure) {
          if (stopped.signal.aborted) return;
          // A refusal is final; a lost connection is opened again.
          if (failure instanceof Failure && failure.status !== 0) return setError(failure.message);
        }
        // An expired token is refreshed; other credentials are no longer valid.
        if (end.code === 'FORBIDDEN') return setError(`Ended: ${end.message}.`);
        setState('The connection was lost: events may be missing here. Connecting again…');
        await new Promise((then) => setTimeout(then, AGAIN_MS));
      }
    };
    void listen();
    return () => {
      stopped.abort();
      clearInterval(timer);
    };
  }, [wanted]);
  return (
    <>
      {error ? <Note kind="error">{error}</Note> : <Note>{state}</Note>}
      <ol class="tail" aria-label="Events, the latest first">
        {lines.map(({ key, event, lost }) => (
          <li key={key}>{event ? <Line event={event} /> : <strong>{lost} events are not shown: more came than a tail shows.</strong>}</li>
        ))}
      </ol>
    </>
  );
}

function Line({ event: { published_at, type, user, channel, sender, data, data_bytes, metadata } }: { event: TailEvent }) {
  return (
    <>
      <span class="muted">{new Date(published_at).toLocaleTimeString()}</span> <code class="name">{channel ?? (user === null ? 'everyone' : `user ${user}`)}</code>
      {type} {sender !== null && <span class="muted">by {sender}</span>} {data === undefined ? <span class="muted">{data_bytes} bytes</span> : <Data of={data} />}{metadata !== undefined && <span class="muted"> metadata <Data of={metadata} /></span>}
    </>
  );
}
