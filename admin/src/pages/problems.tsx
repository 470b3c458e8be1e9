// The problems of all nodes, the most severe first, each with its remedy.

import { type Problem, useAsked } from '../api';
import { brief, count, Degraded, Trouble } from '../ui';

const SEVERITIES = { error: 'Error', warning: 'Warning', info: 'For your information' };

export function ProblemsPage() {
  const { value, error } = useAsked<{ problems: Problem[]; degraded?: true }>('problems', 5000);
  if (!value) return <Trouble error={error} />;
  const [now, before] = [value.problems.filter(({ current }) => current), value.problems.filter(({ current }) => !current)];
  return (
    <>
      <Trouble error={error} />
      <Degraded of={value} />
      <h2>Now, and in the last ten minutes</h2>
      {now.length === 0 && <p class="muted empty">Nothing.</p>}
      {now.map((problem) => <Card problem={problem} />)}
      {before.length > 0 && <h2>Since the nodes started</h2>}
      {before.map((problem) => <Card problem={problem} />)}
    </>
  );
}

function Card({ problem }: { problem: Problem }) {
  const { name, severity, current, title, advice, total, recent, nodes, detail } = problem;
  const where = Object.entries(nodes);
  return (
    <article class={`problem ${current ? severity : ''}`}>
      <h3>{title} <span class={`tag ${severity === 'info' ? '' : 'warning'}`}>{SEVERITIES[severity]}</span></h3>
      {detail && <p><code class="name">{detail}</code></p>}
      <p>{advice}</p>
      <p class="muted">
        {count(total)} in all{recent > 0 && `, ${count(recent)} in the last ten minutes`} ·{' '}
        {where.map(([node, times]) => <><code title={node}>{brief(node)}</code> {count(times)} </>)}· <code>{name}</code>
        {name === 'ended.slow_consumer' && <> · <a href="#/connections?sort=queued">the connections with the most waiting messages</a></>}
      </p>
    </article>
  );
}
