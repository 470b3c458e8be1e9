// A WebSocket client in the page, for any dialect of this listener.

import { useEffect, useRef, useState } from 'preact/hooks';
import { Choice, Field, Note } from '../ui';
import { type Channel, type Message, sample } from './document';

// The most lines to keep: a busy channel must not fill the page's memory.
const KEPT = 500;

interface Line { id: number; side: '→' | '←' | '·'; text: string; time: string }

function address(channel: Channel, channels: Channel[], base: string, values: Record<string, string>): string {
  const query = new URLSearchParams();
  const isShared = channels.some(({ name, address }) => name !== channel.name && address === channel.address);
  for (const [name, schema] of channel.query) {
    const value = values[name] || (isShared && schema.enum?.length === 1 ? String(schema.enum[0]) : '');
    if (value) query.set(name, value);
  }
  const origin = location.origin.replace(/^http/, 'ws');
  return `${origin}${base}${channel.address}${query.size > 0 ? `?${query}` : ''}`;
}

// An example of a message of this kind, with the token.
function template(message: Message, token: string): string {
  const example = message.examples[0] ?? sample(message.payload);
  const filled = token && example && typeof example === 'object' && 'token' in example ? { ...example, token } : example;
  return JSON.stringify(filled, null, 2);
}

export function Console({ channels, base }: { channels: Channel[]; base: string }) {
  const [name, setName] = useState(channels[0]!.name);
  const channel = channels.find((each) => each.name === name) ?? channels[0]!;
  const [values, setValues] = useState<Record<string, string>>({});
  const [text, setText] = useState('');
  const [lines, setLines] = useState<Line[]>([]);
  const [state, setState] = useState<'closed' | 'connecting' | 'open'>('closed');
  const socket = useRef<WebSocket | null>(null);
  const number = useRef(0);
  useEffect(() => () => socket.current?.close(), []);

  const note = (side: Line['side'], said: string): void => {
    const line = { id: number.current++, side, text: said, time: new Date().toISOString().slice(11, 23) };
    setLines((before) => [...before.slice(1 - KEPT), line]);
  };
  const hide = (url: string): string => (values.token ? url.replace(encodeURIComponent(values.token), '…') : url);
  const connect = (event: Event): void => {
    event.preventDefault();
    const url = address(channel, channels, base, values);
    const opened = new WebSocket(url);
    socket.current = opened;
    setState('connecting');
    note('·', `Connects to ${hide(url)}`);
    opened.onopen = () => { setState('open'); note('·', 'Open'); };
    opened.onmessage = ({ data }) => note('←', typeof data === 'string' ? data : `${(data as Blob).size} bytes`);
    opened.onclose = ({ code, reason }) => {
      setState('closed');
      note('·', `Closed: ${code}${reason ? ` ${reason}` : ''}${code === 1006 ? ' (no close frame: a refused handshake, or a lost connection)' : ''}`);
    };
  };
  const send = (event: Event): void => {
    event.preventDefault();
    socket.current?.send(text);
    note('→', values.token ? text.replaceAll(values.token, '…') : text);
  };
  const mine = channel.messages.filter(({ side }) => side === 'client');
  const set = (name: string) => ({ currentTarget }: { currentTarget: HTMLInputElement }): void => setValues({ ...values, [name]: currentTarget.value.trim() });
  // Every dialect accepts a token: in the query, or in a message.
  const inputs = [...new Set(['token', ...channel.query.map(([name]) => name)])];
  return (
    <section class="panel console" id="console">
      <h2>Console</h2>
      <p>{channel.description}</p>
      <form class="search" onSubmit={connect}>
        <Choice label="Dialect" value={channel.name} disabled={state !== 'closed'} options={channels.map(({ name }) => [name, name])}
          onChange={({ currentTarget }) => { setName(currentTarget.value); setText(''); }} />
        {inputs.map((name) => (
          <Field label={name} type={name === 'token' ? 'password' : 'text'} name={name} value={values[name] ?? ''} onInput={set(name)} autocomplete="off" spellcheck={false} />
        ))}
        {state === 'closed' ? <button>Connect</button> : <button type="button" onClick={() => socket.current?.close()}>Close</button>}
      </form>
      <p class="muted"><code>{hide(address(channel, channels, base, values))}</code></p>
      {mine.length > 0 ? (
        <form onSubmit={send}>
          <div class="templates">{mine.map((message) => <button type="button" class="quiet" title={message.summary} onClick={() => setText(template(message, values.token ?? ''))}>{message.name}</button>)}</div>
          <label class="field"><span>Message</span><textarea rows={5} spellcheck={false} value={text} onInput={({ currentTarget }) => setText(currentTarget.value)} /></label>
          <button disabled={state !== 'open'}>Send</button> <button type="button" class="quiet" onClick={() => setLines([])}>Clear</button>
        </form>
      ) : <Note>Clients of this dialect only receive.</Note>}
      <ol class="lines" role="log" aria-label="Messages" tabIndex={0}>
        {lines.map(({ id, side, text, time }) => <li key={id}><span class="muted">{time}</span> <b>{side}</b> <code>{text}</code></li>)}
      </ol>
    </section>
  );
}
