// The page at /docs: the routes and messages of the listener that serves it, with requests to copy and to send.

import { render } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import logo from '../logo.svg';
import { Field, Note } from '../ui';
import '../design.css';
import { Console } from './console';
import { type Channel, type Documents, load, type Tag } from './document';
import './docs.css';
import { Entry, Json } from './operation';
import { Fields } from './schema';

const anchor = (name: string): string => name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
const has = (wanted: string, ...texts: (string | undefined)[]): boolean =>
  wanted.split(/\s+/).every((word) => texts.some((text) => text?.toLowerCase().includes(word)));

// The parts of the documents that contain all words of the search.
function found({ tags, channels, ...rest }: Documents, search: string): Documents {
  const wanted = search.trim().toLowerCase();
  if (!wanted) return { tags, channels, ...rest };
  return {
    ...rest,
    tags: tags.map((tag) => ({ ...tag, operations: tag.operations.filter((each) => has(wanted, tag.name, each.method, each.path, each.summary, each.description)) }))
      .filter(({ operations }) => operations.length > 0),
    channels: channels.map((channel) => ({ ...channel, messages: channel.messages.filter((each) => has(wanted, channel.name, each.name, each.summary)) }))
      .filter(({ messages }) => messages.length > 0),
  };
}

// Opens the operation in the address: `#publishEvents`.
function open(): void {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
  target?.scrollIntoView();
}

function App() {
  const [all, setAll] = useState<Documents | null>(null);
  const [trouble, setTrouble] = useState('');
  const [key, setKey] = useState('');
  const [search, setSearch] = useState('');
  const read = (): void => void load(key).then((read) => { setAll(read); setTrouble(''); }, (failure: unknown) => setTrouble((failure as Error).message));
  useEffect(read, []);
  useEffect(() => {
    addEventListener('hashchange', open);
    return () => removeEventListener('hashchange', open);
  }, []);
  useEffect(() => { if (all) open(); }, [all]);
  const credential = <form onSubmit={(event) => { event.preventDefault(); if (!all) read(); }}><Field label="API key or token, for requests from this page" id="key" type="password" autocomplete="off" spellcheck={false} value={key} onInput={({ currentTarget }) => setKey(currentTarget.value.trim())} />{!all && <button>Read them</button>}</form>;
  if (!all) {
    return (
      <main class="alone">
        <h1><img src={logo} alt="" width="36" height="36" />Fanfare</h1>
        {trouble ? <><Note kind="error">The descriptions cannot be read: {trouble}.</Note>{credential}</> : <p class="muted">Reads the descriptions…</p>}
      </main>
    );
  }
  const shown = found(all, search);
  return (
    <div class="frame">
      <a class="skip" href="#introduction">Skip to the content</a>
      <nav aria-label="Contents">
        <span class="brand"><img src={logo} alt="" width="28" height="28" />Fanfare <small class="muted">{all.version}</small></span>
        <Field label="Search" type="search" value={search} onInput={({ currentTarget }) => setSearch(currentTarget.value)} />
        <Contents shown={shown} />
      </nav>
      <main id="main" tabIndex={-1}>
        <Introduction of={all}>{credential}</Introduction>
        {shown.tags.map((tag) => <Routes tag={tag} base={all.base} key_={key} />)}
        {shown.channels.map((channel) => <Messages channel={channel} />)}
        {shown.tags.length + shown.channels.length === 0 && <p class="muted empty">Nothing here has all of these words.</p>}
        {all.channels.length > 0 && <Console channels={all.channels} base={all.base} />}
      </main>
    </div>
  );
}

function Contents({ shown }: { shown: Documents }) {
  return (
    <ul class="contents">
      <li><a href="#introduction">Introduction</a></li>
      {shown.tags.map(({ name, operations }) => (
        <li>
          <a href={`#${anchor(name)}`}>{name}</a>
          <ul>{operations.map(({ id, method, path }) => <li><a href={`#${encodeURIComponent(id)}`}><span class={`method ${method.toLowerCase()}`}>{method}</span>{path}</a></li>)}</ul>
        </li>
      ))}
      {shown.channels.map(({ name }) => <li><a href={`#dialect-${name}`}>Dialect {name}</a></li>)}
      {shown.channels.length > 0 && <li><a href="#console">Console</a></li>}
    </ul>
  );
}

function Introduction({ of, children }: { of: Documents; children: preact.ComponentChildren }) {
  const origin = location.origin + of.base;
  return (
    <section id="introduction">
      <h1>Routes and messages</h1>
      <p>{of.summary} This is what this listener serves{of.dialects.length > 0 ? <>, with the dialects {of.dialects.map((name, index) => <>{index > 0 && ', '}<code>{name}</code></>)}</> : ', which has no dialects'}.</p>
      <ul>
        <li><strong>Backends</strong> publish with <a href="#publishEvents"><code>POST /api/v1/events</code></a>. An event is for a user, a channel, or everyone.</li>
        <li><strong>Clients</strong> connect a WebSocket with a token of their user. Each dialect below lists its messages; the <a href="#console">console</a> sends and receives them.</li>
        <li><strong>Operators</strong> have a page of their own, <a href="admin">/admin</a>, made of the routes under Operations.</li>
      </ul>
      <p>The service API takes <code>Authorization: Bearer</code> and an API key, or the token of an account with the role admin. With no API key configured, programs on the server's own machine need none.</p>
      <p>The same for programs: <a href="openapi.json">openapi.json</a> (OpenAPI 3.1) and <a href="asyncapi.json">asyncapi.json</a> (AsyncAPI 3.0), both of all listeners. Version {of.version}, at <code>{origin}</code>.</p>
      {children}
    </section>
  );
}

function Routes({ tag, base, key_ }: { tag: Tag; base: string; key_: string }) {
  return (
    <section id={anchor(tag.name)}>
      <h2>{tag.name}</h2>
      {tag.description && <p>{tag.description}</p>}
      {tag.operations.map((operation) => <Entry key={operation.id} operation={operation} base={base} key_={key_} />)}
    </section>
  );
}

function Messages({ channel }: { channel: Channel }) {
  return (
    <section id={`dialect-${channel.name}`}>
      <h2>Dialect {channel.name}</h2>
      <p>{channel.description}</p>
      <p><code>{channel.address}</code></p>
      {channel.query.length > 0 && (
        <ul class="fields">{channel.query.map(([name, { description }]) => <li><code><strong>?{name}=</strong></code> {description}</li>)}</ul>
      )}
      {channel.messages.map(({ name, side, summary, payload, examples }) => (
        <details class="entry">
          <summary><span class={`method ${side}`}>{side}</span><code>{name}</code><span class="muted">{summary}</span></summary>
          <div>{examples.map((example) => <Json value={example} />)}<Fields schema={payload} /></div>
        </details>
      ))}
    </section>
  );
}

render(<App />, document.body);
