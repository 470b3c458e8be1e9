// Channels and users with their connections, explanations of access, and publishing.

import { useEffect, useRef, useState } from 'preact/hooks';
import { call, type Connection, type Explained, type Page, query, useAsked } from '../api';
import { LiveTail } from './tail';
import { Kept, Members } from './kept';
import { brief, Choice, count, Degraded, Field, fields, Form, Note, Table, Trouble } from '../ui';

const LIMIT = 20;

export function ChannelsPage({ asked }: { asked: URLSearchParams }) {
  const lists = (
    <div class="columns">
      <Names of="channels" title="Channels" link={(name) => `#/connections${query({ covers: name })}`} explain={(name) => `#/channels${query({ channel: name })}`} />
      <Names of="users" title="Users" link={(name) => `#/connections${query({ user: name })}`} explain={(name) => `#/channels${query({ user: name, channel: `notifications.user.${name}` })}`} />
    </div>
  );
  const channel = asked.get('channel');
  // A link in the lists asks about a channel: the answer comes first, where it is visible.
  return (
    <>
      {!channel && lists}
      <div class="columns">
        <Explain asked={asked} />
        <Publish to={asked.get('channel') ?? ''} />
      </div>
      {channel && lists}
      <div class="columns wide"><LiveTail asked={asked} /></div>
    </>
  );
}

interface Named {
  name?: string;
  id?: string;
  connections: number;
}

function Names({ of, title, link, explain }: { of: 'channels' | 'users'; title: string; link: (name: string) => string; explain: (name: string) => string }) {
  const [prefix, setPrefix] = useState('');
  const [cursors, setCursors] = useState<string[]>([]);
  const cursor = cursors[cursors.length - 1];
  const { value, error } = useAsked<Page & Partial<Record<'channels' | 'users', Named[]>>>(`${of}${query({ prefix, cursor, limit: LIMIT })}`, 5000);
  const nameOf = (row: Named): string => row.name ?? row.id ?? '';
  return (
    <section>
      <h2>{title}</h2>
      <form class="search" role="search" onSubmit={(event) => { setCursors([]); setPrefix(fields(event).prefix ?? ''); }}>
        <Field label="Begins with" name="prefix" />
        <button>Search</button>
      </form>
      <Trouble error={error} />
      <Degraded of={value} />
      {value && (
        <>
          <Table caption={`${title} with connections, by name`} empty="There are none." rows={value[of] ?? []} id={nameOf} columns={[
            { name: 'Name', cell: (row) => <code class="name">{nameOf(row)}</code> },
            { name: 'Connections', number: true, cell: (row) => <a href={link(nameOf(row))}>{count(row.connections)}</a> },
            { name: 'Why', cell: (row) => <a href={explain(nameOf(row))} aria-label={`Explain ${nameOf(row)}`}>explain</a> },
          ]} />
          <nav class="pages" aria-label={`Pages of ${title.toLowerCase()}`}>
            <button class="quiet" disabled={cursors.length === 0} onClick={() => setCursors(cursors.slice(0, -1))}>Back</button>
            <button class="quiet" disabled={!value.next_cursor} onClick={() => setCursors([...cursors, value.next_cursor!])}>Next</button>
          </nav>
        </>
      )}
    </section>
  );
}

function Explain({ asked }: { asked: URLSearchParams }) {
  const [user, channel, claims] = [asked.get('user') ?? '', asked.get('channel') ?? '', asked.get('claims') ?? ''];
  const { value, error } = useAsked<Explained>(channel ? `explain${query({ user, channel, claims })}` : '');
  const ask = (event: Event): void => void (location.hash = `/channels${query(fields(event))}`);
  const section = useRef<HTMLElement>(null);
  useEffect(() => { if (channel) section.current?.scrollIntoView({ block: 'nearest' }); }, []);
  return (
    <section ref={section}>
      <h2>Why does a user get a channel, or not?</h2>
      <form onSubmit={ask}>
        <Field label="User (none: a connection without a token)" name="user" defaultValue={user} />
        <Field label="Channel" name="channel" required defaultValue={channel} />
        <Field label="Claims of the token, as JSON" name="claims" defaultValue={claims} placeholder='{"roles":["staff"]}' />
        <button>Explain</button>
      </form>
      <Trouble error={error} />
      {value && (
        <div aria-live="polite">
          <Degraded of={value} />
          <ul class="decisions">
            {value.decisions.map(({ action, verdict, reason }) => (
              <li><span class={`tag ${verdict === 'allowed' ? 'good' : verdict === 'refused' ? 'warning' : ''}`}>{action}: {verdict}</span> {reason}</li>
            ))}
          </ul>
          <p><a href={`#/trace${query({ channel, for: user })}`}>Trace the next event here</a></p>
          {value.user !== null && (
            <>
              <Receivers title="Connections of the user that receive it" rows={value.receiving} />
              <Receivers title="Connections of the user that do not" rows={value.not_receiving} why={(id) => WHY[value.not_receiving.find((row) => row.id === id)!.reason]} />
            </>
          )}
          {value.room && <Members channel={channel} />}
          <Kept channel={channel} rule={value.history} />
        </div>
      )}
    </section>
  );
}

const WHY = { not_subscribed: 'it has not subscribed', refused: 'the access rules refuse it', expired: 'its token has expired' };

function Receivers({ title, rows, why }: { title: string; rows: Connection[]; why?: (id: string) => string }) {
  return (
    <>
      <h3>{title}: {count(rows.length)}</h3>
      <ul>{rows.map(({ id, dialect, details: { node } }) => <li>{dialect} <code title={id}>{brief(id)}</code> on <code title={node}>{brief(node)}</code>{why && `: ${why(id)}`}</li>)}</ul>
    </>
  );
}

interface Published {
  ids: string[];
  receipts: { matched: number; queued: number; dropped: number; nodes: number }[];
  degraded?: true;
}

function Publish({ to: channel }: { to: string }) {
  const publish = async ({ audience, name = '', type, data = '' }: Record<string, string>): Promise<string> => {
    let parsed: unknown;
    try {
      parsed = JSON.parse(data);
    } catch {
      throw new Error('The data is not JSON.');
    }
    const to = audience === 'everyone' ? 'everyone' : { [audience ?? 'user']: name };
    const answer = await call<Published>('POST', 'events', { to, data: parsed, ...(type ? { type } : {}) });
    const receipt = answer.receipts[0];
    return `Published as ${answer.ids[0]}: ${receipt?.queued} of ${receipt?.matched} connections got it, ${receipt?.dropped} could not, on ${receipt?.nodes} nodes.${answer.degraded ? ' Not every node has answered.' : ''}`;
  };
  return (
    <section>
      <h2>Publish an event</h2>
      <Note>It goes to real clients.</Note>
      <Form button="Publish" send={publish}>
        <Choice label="To" name="audience" defaultValue={channel ? 'channel' : 'user'} options={[['user', 'a user'], ['channel', 'a channel'], ['everyone', 'everyone']]} />
        <Field label="User or channel" name="name" defaultValue={channel} />
        <Field label="Type" name="type" placeholder="order.shipped" />
        <label class="field"><span>Data, as JSON</span><textarea name="data" rows={5} required spellcheck={false}>{'{ "order": 42 }'}</textarea></label>
      </Form>
    </section>
  );
}
