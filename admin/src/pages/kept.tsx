// The members of a room, and the history of a channel.

import { useState } from 'preact/hooks';
import { type Explained, query, useAsked } from '../api';
import { ago, count, Data, Degraded, Table, Trouble } from '../ui';

const LIMIT = 20;

interface Member {
  user: string;
  username: string;
  connections: number;
  since: string;
}

interface KeptEvent {
  id: string;
  type: string | null;
  data: unknown;
  timestamp: string;
  cursor: string;
}

// A page, with links to the next one and back.
function useCursors(): [string | undefined, (next: string | undefined) => preact.JSX.Element] {
  const [cursors, setCursors] = useState<string[]>([]);
  return [cursors[cursors.length - 1], (next) => (
    <nav class="pages">
      <button type="button" class="quiet" disabled={cursors.length === 0} onClick={() => setCursors(cursors.slice(0, -1))}>Back</button>
      <button type="button" class="quiet" disabled={!next} onClick={() => setCursors([...cursors, next!])}>Next</button>
    </nav>
  )];
}

export function Members({ channel }: { channel: string }) {
  const [cursor, pages] = useCursors();
  const path = `channels/${encodeURIComponent(channel)}/presence${query({ cursor, limit: LIMIT })}`;
  const { value, error } = useAsked<{ members: Member[]; next_cursor: string | null; complete: boolean }>(path, 5000);
  return (
    <>
      <h3>Members</h3>
      <Trouble error={error} />
      {value && (
        <>
          <Degraded of={value.complete ? {} : { degraded: true }} />
          <Table caption="Users in the room, by id" empty="Nobody is in this room." rows={value.members} id={({ user }) => user} columns={[
            { name: 'User', cell: ({ user, username }) => <><code class="name">{user}</code>{username !== user && <span class="muted">{username}</span>}</> },
            { name: 'Connections', number: true, cell: ({ connections }) => count(connections) },
            { name: 'Since', number: true, cell: ({ since }) => <span title={since}>{ago(since)}</span> },
          ]} />
          {pages(value.next_cursor ?? undefined)}
        </>
      )}
    </>
  );
}

export function Kept({ channel, rule }: { channel: string; rule: Explained['history'] }) {
  if (!rule) return <><h3>History</h3><p class="muted empty">None is kept: no rule with <code>history</code> matches this channel.</p></>;
  const by = rule.pattern === null ? 'history.users' : `rule ${rule.rule}, ${rule.pattern}`;
  return (
    <>
      <h3>History</h3>
      <p>The newest {count(rule.size)} events, for {rule.ttl} (<code>{by}</code>).</p>
      <KeptEvents key={channel} channel={channel} />
    </>
  );
}

function KeptEvents({ channel }: { channel: string }) {
  const [since, pages] = useCursors();
  const { value, error } = useAsked<{ events: KeptEvent[] }>(`history${query({ channel, since, limit: LIMIT, reverse: '1' })}`);
  const events = value?.events ?? [];
  return (
    <>
      <Trouble error={error} />
      {value && (
        <>
          <Table caption="Kept events, the newest first" empty="There are none now." rows={events} id={({ id }) => id} columns={[
            { name: 'Published', cell: ({ timestamp }) => <span title={timestamp}>{ago(timestamp)} ago</span> },
            { name: 'Type', cell: ({ type }) => type ?? <span class="muted">none</span> },
            { name: 'Data', cell: ({ data }) => <Data of={data} /> },
            { name: 'Event', cell: ({ id }) => <a href={`#/trace${query({ event: id })}`} aria-label={`Trace of ${id}`}>trace</a> },
          ]} />
          {pages(events.length === LIMIT ? events[events.length - 1]!.cursor : undefined)}
        </>
      )}
    </>
  );
}
