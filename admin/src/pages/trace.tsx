// Why did a user not receive an event? A trace is armed on all nodes, and shows the outcome of the next event at each connection.

import { useEffect, useRef, useState } from 'preact/hooks';
import { call, type Failure, query, type TracedConnection, type TracedEvent, type TracedEvents, type Trace, useAsked } from '../api';
import { bytes, brief, Choice, count, Degraded, Field, fields, Form, Note, Table, Trouble } from '../ui';

const LISTED = 50;
// The outcomes that may still change, and the final ones.
const WAITS = ['queued', 'undecided', 'unknown'];
const ARRIVED = ['acknowledged', 'written'];

export function TracePage({ asked }: { asked: URLSearchParams }) {
  const event = asked.get('event') ?? '';
  return (
    <>
      {event && <Picture event={event} user={asked.get('user') ?? ''} />}
      <div class="columns list">
        <Arm user={asked.get('for') ?? ''} channel={asked.get('channel') ?? ''} />
        <Traced chosen={event} />
      </div>
    </>
  );
}

interface Armed {
  trace: string;
  until: string;
  degraded?: true;
}

function Arm({ user, channel }: { user: string; channel: string }) {
  const [trace, setTrace] = useState('');
  const [error, setError] = useState('');
  const disarm = async (): Promise<void> => {
    try {
      await call('DELETE', `trace/${trace}`);
      setError('');
    } catch (failure) {
      // It has ended already.
      if ((failure as Failure).status !== 404) return setError((failure as Error).message);
    }
    setTrace('');
  };
  const arm = async ({ what, channel, user, event, minutes }: Record<string, string>): Promise<string> => {
    const wanted: Record<string, unknown> = { events: 10, seconds: Number(minutes) * 60 };
    if (user) wanted.user = user;
    if (what === 'channel') wanted.channel = channel;
    if (what === 'everyone') wanted.everyone = true;
    if (what === 'event') wanted.event = event;
    const { trace, until, degraded } = await call<Armed>('POST', 'trace', wanted);
    setTrace(trace);
    return `Armed until ${new Date(until).toLocaleTimeString()}: the events appear in the list.${degraded ? ' Not every node has answered.' : ''}`;
  };
  const [what, setWhat] = useState(user && !channel ? 'user' : 'channel');
  return (
    <section>
      <h2>Trace the next events</h2>
      <Form button="Arm" send={arm}>
        <Choice label="Which" name="what" value={what} onChange={(event) => setWhat(event.currentTarget.value)} options={[
          ['user', 'for a user'], ['channel', 'on a channel or pattern'], ['everyone', 'for everyone'], ['event', 'of an id'],
        ]} />
        {what === 'channel' && <Field label="Channel or pattern" name="channel" required defaultValue={channel} placeholder="chat.*" />}
        {what === 'event' && <Field label="Event id, which the publisher will choose" name="event" required pattern="[0-9a-fA-F-]{32,36}" />}
        <Field label={what === 'user' ? 'User' : 'Explain it for this user, too (optional)'} name="user" required={what === 'user'} defaultValue={user} />
        <Choice label="For" name="minutes" options={[['1', 'a minute'], ['10', '10 minutes'], ['60', 'an hour']]} />
      </Form>
      {trace && <p>Enough events? <button class="quiet" onClick={() => void disarm()}>Disarm</button></p>}
      <Trouble error={error} />
      <p class="muted">All nodes record the next ten such events, without their data. Nothing is recorded while no trace is armed.</p>
    </section>
  );
}

const to = ({ user, channel }: TracedEvent): string => channel ?? (user === null ? 'everyone' : `user ${user}`);
// With milliseconds, by which events of one burst differ.
const at = (time: string): string => new Date(time).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3 });

function Traced({ chosen }: { chosen: string }) {
  const { value, error } = useAsked<TracedEvents>(`trace${query({ limit: LISTED })}`, 2000);
  return (
    <section>
      <h2>Traced events</h2>
      <Trouble error={error} />
      <Degraded of={value} />
      {value && (
        <Table caption="The latest first" empty="None yet." rows={value.events} id={({ id }) => id} columns={[
          { name: 'Published', cell: ({ published_at }) => <span class="short">{at(published_at)}</span> },
          { name: 'To', cell: (row) => <code class="name">{to(row)}</code> },
          { name: 'Type', cell: ({ type }) => type ?? '' },
          { name: 'Trace', cell: ({ id }) => <a href={`#/trace${query({ event: id })}`} aria-current={id === chosen ? 'true' : undefined}>{brief(id)}</a> },
        ]} />
      )}
    </section>
  );
}

const tone = (outcome: string): string => (ARRIVED.includes(outcome) ? 'good' : WAITS.includes(outcome) ? '' : 'warning');

function Picture({ event, user }: { event: string; user: string }) {
  // The peers' acknowledgements arrive a moment later.
  const { value, error } = useAsked<Trace>(`trace/${encodeURIComponent(event)}${query({ user })}`, 2000);
  const ask = (submitted: Event): void => void (location.hash = `/trace${query({ event, user: fields(submitted).user })}`);
  const section = useRef<HTMLElement>(null);
  useEffect(() => section.current?.scrollIntoView({ block: 'nearest' }), []);
  return (
    <section aria-live="polite" ref={section}>
      <h2>Event <code>{event}</code></h2>
      <form class="search" onSubmit={ask}>
        <Field label="Why did this user get it, or not?" name="user" required defaultValue={user} />
        <button>Answer</button>
      </form>
      <Trouble error={error} />
      {value && (
        <>
          <Degraded of={value} />
          {value.about && (
            <p class={`note ${ARRIVED.includes(value.about.verdict) ? 'info' : 'warning'}`} role="status">
              <span class={`tag ${tone(value.about.verdict)}`}>{value.about.verdict}</span> {value.about.reason}. The user has {count(value.about.connections_now)} connections now.
            </p>
          )}
          <Facts trace={value} />
          {value.deliveries.map((delivery) => (
            <>
              <h3>On node <code title={delivery.node}>{brief(delivery.node)}</code>{delivery.node === value.entry?.node && ', where it entered'}</h3>
              <p class="muted">{count(delivery.matched)} matched, {count(delivery.queued)} queued, {count(delivery.dropped)} dropped, {count(delivery.filtered)} filtered{delivery.left_out > 0 && `; ${count(delivery.left_out)} are not recorded`}{delivery.finished_shards < delivery.shards && '; not finished yet'}</p>
              <Connections rows={delivery.connections} />
            </>
          ))}
          {value.nodes > value.deliveries.length && (
            <Note>{`${value.nodes - value.deliveries.length} of ${value.nodes} nodes did not receive it: no connection there asked for it.`}</Note>
          )}
        </>
      )}
    </section>
  );
}

function Facts({ trace: { event, entry } }: { trace: Trace }) {
  return (
    <dl class="facts">
      <dt>To</dt><dd><code>{to(event)}</code></dd>
      <dt>Type</dt><dd>{event.type ?? 'none'}</dd>
      <dt>Published</dt><dd>{at(event.published_at)}{event.sender !== null && <> by <code>{event.sender}</code></>}{event.sending_connection && <> from connection <code title={event.sending_connection}>{brief(event.sending_connection)}</code></>}, {bytes(event.data_bytes)}{event.private_to !== null && `, private to ${event.private_to} users`}</dd>
      <dt>Entered</dt>
      <dd>
        {entry
          ? <>by {entry.door}{entry.dialect && ` (${entry.dialect})`} on node <code title={entry.node}>{brief(entry.node)}</code>{entry.allowed_by && `, allowed by ${entry.allowed_by}`}</>
          : 'by no door of these nodes: another program published it on the broker, or the trace was armed later'}
      </dd>
    </dl>
  );
}

const after = (ms: number | null): string => (ms === null ? '' : `${ms.toFixed(1)} ms`);

function Connections({ rows }: { rows: TracedConnection[] }) {
  return (
    <Table caption="Connections, and how far it came" empty="No connection here has to do with it." rows={rows} id={({ id }) => id} columns={[
      { name: 'Outcome', cell: ({ outcome }) => <span class={`tag ${tone(outcome)}`}>{outcome}</span> },
      { name: 'User', cell: ({ user }) => (user === null ? 'anonymous' : <a class="name" href={`#/connections${query({ user })}`}>{user}</a>) },
      { name: 'Connection', cell: ({ id, dialect }) => <><span class="short">{dialect}</span> <code title={id}>{brief(id)}</code></> },
      { name: 'Reason', cell: ({ reason }) => reason },
      { name: 'Queued', number: true, cell: ({ queued_ms }) => after(queued_ms) },
      { name: 'Written', number: true, cell: ({ written_ms }) => after(written_ms) },
      { name: 'Acknowledged', number: true, cell: ({ acknowledged_ms }) => after(acknowledged_ms) },
    ]} />
  );
}
