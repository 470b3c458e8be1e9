// The figures of all nodes, live: gauges, and the rates of counters.

import { useEffect, useState } from 'preact/hooks';
import { type NodeFigures, type Overview, type Problem, useAsked } from '../api';
import { brief, count, Degraded, Figure, Note, rate, seconds, Table, Trouble } from '../ui';

const EVERY = 2000;
const KEPT = 90; // three minutes

interface Moment {
  at: number;
  connections: number;
  events: number;
  sent: number;
  dropped: number;
  // The number of deliveries within each bound.
  deliveries: number[];
}

const sum = <T,>(of: T[], what: (one: T) => number): number => of.reduce((total, one) => total + what(one), 0);
const ofDialects = (nodes: NodeFigures[], field: 'sent' | 'dropped' | 'received'): number =>
  sum(nodes, (node) => sum(node.dialects, (dialect) => dialect[field]));

const moment = (nodes: NodeFigures[]): Moment => ({
  at: Date.now(),
  connections: sum(nodes, (node) => node.connections),
  events: sum(nodes, (node) => node.events),
  sent: ofDialects(nodes, 'sent'),
  dropped: ofDialects(nodes, 'dropped'),
  deliveries: bounds(nodes).map((_, index) => sum(nodes, ({ delivery }) => delivery.buckets[index]?.count ?? delivery.count)),
});

const bounds = (nodes: NodeFigures[]): number[] => [...(nodes[0]?.delivery.buckets.map(({ le }) => le) ?? []), Infinity];

// The rate of a counter between two samples. Nodes that are in only one of them are left out.
const rates = (moments: Moment[], field: 'events' | 'sent' | 'dropped'): number[] =>
  moments.slice(1).map((now, index) => {
    const before = moments[index]!;
    return Math.max(0, ((now[field] - before[field]) * 1000) / Math.max(1, now.at - before.at));
  });

// The upper bound of the given share of deliveries between two samples; `null` if there were none.
function quantile(bounds: number[], before: Moment, now: Moment, part: number): number | null {
  const counts = now.deliveries.map((count, index) => Math.max(0, count - (before.deliveries[index] ?? 0)));
  const all = counts[counts.length - 1] ?? 0;
  return all === 0 ? null : bounds.find((_, index) => counts[index]! >= all * part)!;
}

const most = (value: number): string => (value === Infinity ? '> 10 s' : `≤ ${seconds(value)}`);

// The delivery times of the last three minutes at most, since the page was opened.
function latency(nodes: NodeFigures[], moments: Moment[]): { value: string; more: string } {
  const [before, now] = [moments[0], moments[moments.length - 1]];
  if (!before || !now || before === now) return { value: '…', more: '' };
  const time = seconds((now.at - before.at) / 1000);
  const [half, almost] = [0.5, 0.99].map((part) => quantile(bounds(nodes), before, now, part));
  if (half == null || almost == null) return { value: '–', more: `none in the last ${time}` };
  return { value: most(almost), more: `half ${most(half)}; in the last ${time}` };
}

export function OverviewPage() {
  const { value, error } = useAsked<Overview>('overview', EVERY);
  const problems = useAsked<{ problems: Problem[] }>('problems', 5 * EVERY).value?.problems.filter((one) => one.current && one.severity !== 'info');
  const [moments, setMoments] = useState<Moment[]>([]);
  useEffect(() => {
    if (value) setMoments((moments) => [...moments, moment(value.nodes)].slice(-KEPT));
  }, [value]);
  if (!value) return <Trouble error={error} />;
  const { nodes } = value;
  const last = <T,>(list: T[]): T | undefined => list[list.length - 1];
  const dropped = rates(moments, 'dropped');
  const grown = (field: 'events' | 'sent'): { value: string; line: number[] } => {
    const line = rates(moments, field);
    return { value: line.length ? `${rate(last(line)!)} /s` : '…', line };
  };
  const away = nodes.filter((node) => node.broker.status === 'disconnected').length;
  const down = nodes.filter((node) => node.database.status === 'down').length;
  const trips = nodes.flatMap((node) => node.broker.round_trip_ms ?? []);
  return (
    <>
      <Trouble error={error} />
      <Degraded of={value} />
      {problems?.map((one) => <Note kind={one.severity === 'error' ? 'error' : 'warning'}><a href="#/problems">{one.title}</a></Note>)}
      <dl class="figures">
        <Figure name="Connections" value={count(last(moments)?.connections ?? moment(nodes).connections)} line={moments.map((one) => one.connections)} />
        <Figure name="Events in" {...grown('events')} />
        <Figure name="Messages out" {...grown('sent')} />
        <Figure name="Not delivered" value={count(ofDialects(nodes, 'dropped'))} more="since the start" alarm={(last(dropped) ?? 0) > 0} line={dropped} />
        <Figure name="Delivery, 99 of 100" {...latency(nodes, moments)} />
        <Figure name="Broker" alarm={away > 0} value={away ? `${away} away` : trips.length ? 'connected' : 'embedded'}
          more={trips.length ? `answers within ${Math.max(...trips).toFixed(1)} ms` : ''} />
        <Figure name="Database" value={down ? `${down} down` : 'up'} alarm={down > 0} />
        <Certificates nodes={nodes} />
      </dl>
      <Dialects nodes={nodes} />
      <Nodes nodes={nodes} by={value.answered_by} />
    </>
  );
}

const ENDS_SOON = 14 * 86_400;

// The certificate that ends first; nothing if no listener has TLS.
function Certificates({ nodes }: { nodes: NodeFigures[] }) {
  const left = nodes.flatMap(({ certificates, time_ms }) => Object.values(certificates).map((end) => (end === null ? null : end - time_ms / 1000)));
  if (left.length === 0) return null;
  const missing = left.filter((time) => time === null).length;
  const first = Math.min(...left.map((time) => time ?? 0));
  const value = missing ? `${missing} missing` : first > 0 ? `${seconds(first)} left` : 'ended';
  return <Figure name="Certificate" value={value} more={left.length > 1 && !missing ? `the first of ${left.length}` : ''} alarm={first < ENDS_SOON} />;
}

function Dialects({ nodes }: { nodes: NodeFigures[] }) {
  const names = [...new Set(nodes.flatMap((node) => node.dialects.map(({ name }) => name)))];
  const rows = names.map((name) => {
    const all = nodes.flatMap((node) => node.dialects.filter((dialect) => dialect.name === name));
    return { name, all, connections: sum(all, (one) => one.connections), room: sum(all, (one) => one.max_connections) };
  });
  return (
    <Table caption="Dialects, on all nodes" empty="No dialect is served." rows={rows} id={({ name }) => name} columns={[
      { name: 'Dialect', cell: ({ name }) => <a href={`#/connections?dialect=${encodeURIComponent(name)}`}>{name}</a> },
      { name: 'Connections', number: true, cell: ({ connections, room }) => <>{count(connections)} <meter min={0} max={Math.max(1, room)} high={room * 0.9} value={connections} aria-label={`of ${room}`} /></> },
      { name: 'Subscriptions', number: true, cell: ({ all }) => count(sum(all, (one) => one.subscriptions)) },
      { name: 'Opened', number: true, cell: ({ all }) => count(sum(all, (one) => one.opened)) },
      { name: 'Refused', number: true, cell: ({ all }) => <Reasons of={all.map(({ refused }) => refused)} /> },
      { name: 'Closed', number: true, cell: ({ all }) => <Reasons of={all.map(({ ended }) => ended)} /> },
      { name: 'Messages in', number: true, cell: ({ all }) => count(sum(all, (one) => one.received)) },
      { name: 'Messages out', number: true, cell: ({ all }) => count(sum(all, (one) => one.sent)) },
      { name: 'Not delivered', number: true, cell: ({ all }) => count(sum(all, (one) => one.dropped)) },
    ]} />
  );
}

// Counts by reason: the sum, and each reason in a tooltip.
function Reasons({ of }: { of: Record<string, number>[] }) {
  const reasons = [...new Set(of.flatMap(Object.keys))].map((reason): [string, number] => [reason, sum(of, (counts) => counts[reason] ?? 0)]);
  const some = reasons.filter(([, times]) => times > 0);
  return <span title={some.map(([reason, times]) => `${reason}: ${times}`).join('\n')}>{count(sum(some, ([, times]) => times))}</span>;
}

function Nodes({ nodes, by }: { nodes: NodeFigures[]; by: string }) {
  return (
    <Table caption="Nodes" empty="No node has answered." rows={nodes} id={({ id }) => id} columns={[
      { name: 'Node', cell: (node) => <>{node.host ?? 'node'} <code title={node.id}>{brief(node.id)}</code>{node.id === by && <span class="tag">this one</span>}{node.draining && <span class="tag warning">drains</span>}</> },
      { name: 'Version', cell: ({ version }) => version },
      { name: 'Up', number: true, cell: ({ uptime_seconds }) => seconds(uptime_seconds) },
      { name: 'Connections', number: true, cell: ({ connections }) => count(connections) },
      { name: 'Channels', number: true, cell: ({ channels }) => count(channels) },
      { name: 'Events in', number: true, cell: ({ events }) => count(events) },
      { name: 'Broker', cell: ({ broker }) => <><span title={broker.error ?? ''}>{broker.status}</span>{broker.reconnects > 0 && <span class="muted"> {count(broker.reconnects)} reconnects</span>}</> },
      { name: 'Database', cell: ({ database }) => <span title={database.error ?? ''}>{database.status}</span> },
    ]} />
  );
}
