// The values in force on each node, where they were set, and where nodes differ.

import { useState } from 'preact/hooks';
import { type NodeConfiguration, type Setting, useAsked } from '../api';
import { brief, Choice, Degraded, Field, Note, Table, Trouble } from '../ui';

export function ConfigurationPage() {
  const { value, error } = useAsked<{ nodes: NodeConfiguration[]; degraded?: true }>('configuration');
  const [search, setSearch] = useState('');
  const [all, setAll] = useState(false);
  const [at, setAt] = useState(0);
  if (!value) return <Trouble error={error} />;
  const node = value.nodes[at] ?? value.nodes[0];
  if (!node) return <Degraded of={value} />;
  const others = value.nodes.filter((other) => other !== node).map((other) => new Map(other.settings.map((one) => [one.key, one.value])));
  const differs = ({ key, value }: Setting): boolean => others.some((other) => other.get(key) !== value);
  const matches = ({ key, doc }: Setting): boolean => `${key} ${doc}`.toLowerCase().includes(search.toLowerCase());
  const rows = node.settings.filter((one) => matches(one) && (all || search || one.changed || differs(one)));
  const name = ({ node, host }: NodeConfiguration): string => `${host ?? 'node'} ${brief(node)}`;
  return (
    <>
      <Degraded of={value} />
      {node.warnings.map((warning) => <Note kind="warning">{warning}</Note>)}
      <form class="search" role="search" onSubmit={(event) => event.preventDefault()}>
        {value.nodes.length > 1 && (
          <Choice label="Node" value={String(at)} onInput={(event) => setAt(Number(event.currentTarget.value))}
            options={value.nodes.map((one, index): [string, string] => [String(index), name(one)])} />
        )}
        <Field label="Search" value={search} onInput={(event) => setSearch(event.currentTarget.value)} />
        <label class="check"><input type="checkbox" checked={all} onInput={(event) => setAll(event.currentTarget.checked)} /> show defaults</label>
      </form>
      <p class="muted">Profile {node.profile}, file {node.file ?? 'none'}.</p>
      <Table caption={all || search ? 'Settings' : 'Settings that are not the default'} empty="There are none." rows={rows} id={({ key }) => key} columns={[
        { name: 'Key', cell: (one) => <><code class="name">{one.key}</code>{differs(one) && <span class="tag warning">not on all nodes</span>}<span class="doc muted">{one.doc.replaceAll('`', '')}</span></> },
        { name: 'Value', cell: (one) => <code class="name">{one.value}</code> },
        { name: 'Default', cell: (one) => (one.default === null ? '' : <code class="name muted">{one.default}</code>) },
        { name: 'From', cell: ({ origin }) => origin },
      ]} />
    </>
  );
}
