// The connections of all nodes: search, pages, details, and a button that ends one.

import { useState } from 'preact/hooks';
import { call, type Connection, type Page, query, useAsked } from '../api';
import { ago, brief, bytes, Choice, count, Degraded, Dialog, Field, fields, Note, seconds, Table, Trouble } from '../ui';

const LIMIT = 50;
const NAMES = ['user', 'dialect', 'covers', 'address', 'sort'];

export function ConnectionsPage({ asked }: { asked: URLSearchParams }) {
  const wanted = Object.fromEntries(NAMES.map((name) => [name, asked.get(name) ?? '']));
  const [cursors, setCursors] = useState<string[]>([]);
  const [shown, setShown] = useState<string | null>(null);
  const cursor = cursors[cursors.length - 1];
  const path = `connections${query({ ...wanted, cursor, limit: LIMIT, details: 'true', subscriptions: 3 })}`;
  const { value, error, again } = useAsked<Page & { connections: Connection[] }>(path, wanted.sort === 'queued' ? 3000 : 10_000);
  const dialects = useAsked<{ nodes: { dialects: { name: string }[] }[] }>('overview').value?.nodes[0]?.dialects ?? [];
  const search = (event: Event): void => void (location.hash = `/connections${query(fields(event))}`);
  return (
    <>
      <form class="search" role="search" onSubmit={search}>
        <Field label="User (the whole name)" name="user" defaultValue={wanted.user} />
        <Choice label="Dialect" name="dialect" defaultValue={wanted.dialect} key={dialects.length}
          options={[['', 'any'], ...dialects.map(({ name }): [string, string] => [name, name])]} />
        <Field label="Receives channel" name="covers" defaultValue={wanted.covers} />
        <Field label="Address" name="address" defaultValue={wanted.address} inputMode="decimal" />
        <Choice label="Order" name="sort" defaultValue={wanted.sort} options={[['', 'oldest first'], ['queued', 'most waiting messages first']]} />
        <button>Search</button>
      </form>
      <Trouble error={error} />
      <Degraded of={value} />
      {value && (
        <>
          <Table caption="Connections" empty="There are no such connections." rows={value.connections} id={({ id }) => id} columns={[
            { name: 'User', cell: (row) => row.user ?? <span class="muted">{row.name ?? 'anonymous'}</span> },
            { name: 'Dialect', cell: ({ dialect }) => <span class="short">{dialect}</span> },
            { name: 'Address', cell: ({ address }) => <span class="address">{address}</span> },
            { name: 'Open', number: true, cell: ({ connected_at }) => ago(connected_at) },
            { name: 'Waiting', number: true, cell: ({ details: { queued, queued_bytes } }) => (queued ? <strong>{count(queued)} · {bytes(queued_bytes)}</strong> : '0') },
            { name: 'Subscriptions', cell: (row) => <Subscriptions of={row} /> },
            { name: 'Node', cell: ({ details: { node } }) => <code title={node}>{brief(node)}</code> },
            { name: 'Details', cell: ({ id, user }) => <button class="quiet" onClick={() => setShown(id)} aria-label={`Details of a connection of ${user ?? 'no user'}`}>Details</button> },
          ]} />
          <nav class="pages" aria-label="Pages of connections">
            <button class="quiet" disabled={cursors.length === 0} onClick={() => setCursors(cursors.slice(0, -1))}>Back</button>
            <button class="quiet" disabled={!value.next_cursor} onClick={() => setCursors([...cursors, value.next_cursor!])}>Next</button>
          </nav>
        </>
      )}
      {shown && <Details id={shown} close={() => { setShown(null); again(); }} />}
    </>
  );
}

function Subscriptions({ of }: { of: Connection }) {
  const more = of.details.subscription_count - of.subscriptions.length;
  if (of.details.subscription_count === 0) return <span class="muted">none</span>;
  return <>{of.subscriptions.map((name) => <code class="name">{name}</code>)}{more > 0 && <span class="muted">and {count(more)} more</span>}</>;
}

// The pressed button disappears: move the focus to the one in its place.
const focused = (button: HTMLButtonElement | null): void => button?.focus();

function Details({ id, close }: { id: string; close: () => void }) {
  const { value, error } = useAsked<Connection>(`connections/${id}`, 3000);
  const [said, setSaid] = useState('');
  const [sure, setSure] = useState(false);
  const end = async (): Promise<void> => {
    try {
      await call('DELETE', `connections/${id}`);
      close();
    } catch (failure) {
      setSaid((failure as Error).message);
    }
  };
  return (
    <Dialog title="Connection" close={close}>
      <Trouble error={said || error} />
      {value && (
        <dl class="facts">
          <dt>Id</dt><dd><code>{value.id}</code></dd>
          <dt>User</dt><dd>{value.user ?? 'none'}</dd>
          {value.name && <><dt>Name</dt><dd>{value.name}</dd></>}
          <dt>Dialect</dt><dd>{value.dialect}{value.details.compressed ? ', compressed' : ''}</dd>
          <dt>Address</dt><dd>{value.address}</dd>
          {value.details.user_agent && <><dt>Client</dt><dd>{value.details.user_agent}</dd></>}
          <dt>Node</dt><dd><code>{value.details.node}</code></dd>
          <dt>Open since</dt><dd>{value.connected_at} ({ago(value.connected_at)})</dd>
          <dt>Last heard from</dt><dd>{seconds(value.details.silent_seconds)} ago</dd>
          <dt>Token expires</dt><dd>{value.details.expires_at ?? 'never: it has no token, or one that does not expire'}{value.details.paused && <strong> (expired: it receives no events)</strong>}</dd>
          <dt>Waiting</dt><dd>{count(value.details.queued)} messages, {bytes(value.details.queued_bytes)}</dd>
          <dt>Receives unasked</dt><dd>{[value.details.gets_user && 'its user’s events', value.details.gets_everyone && 'events for everyone'].filter(Boolean).join(', ') || 'nothing'}</dd>
          <dt>Subscriptions ({count(value.details.subscription_count)})</dt>
          <dd class="names">{value.subscriptions.length ? value.subscriptions.map((name) => <code class="name">{name}</code>) : 'none'}</dd>
        </dl>
      )}
      {sure ? (
        <Note kind="warning">
          The client sees 1008 “closed by an administrator”; most connect again. <button class="danger" ref={focused} onClick={() => void end()}>Close it</button>
        </Note>
      ) : <button class="danger" onClick={() => setSure(true)}>Close this connection…</button>}
    </Dialog>
  );
}
