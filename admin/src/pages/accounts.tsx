// Accounts, and the API keys of services.

import { useState } from 'preact/hooks';
import { type Account, call, type Key, type Page, query, useAsked } from '../api';
import { ago, Field, Form, fields, Note, Table, Trouble } from '../ui';

const list = (text = ''): string[] => text.split(/[\s,]+/).filter(Boolean);

export function AccountsPage() {
  return <><Accounts /><Keys /></>;
}

function Accounts() {
  const [email, setEmail] = useState('');
  const [cursors, setCursors] = useState<string[]>([]);
  const [said, setSaid] = useState('');
  const { value, error, again } = useAsked<Page & { accounts: Account[] }>(`accounts${query({ email, cursor: cursors[cursors.length - 1], limit: 50 })}`);
  const change = async ({ id }: Account, to: { roles?: string[]; disabled?: boolean }): Promise<void> => {
    try {
      await call('PATCH', `accounts/${encodeURIComponent(id)}`, to);
      setSaid('');
    } catch (failure) {
      setSaid((failure as Error).message);
    }
    again();
  };
  const create = async ({ email, password, name, roles }: Record<string, string>): Promise<string> => {
    const made = await call<Account>('POST', 'accounts', { email, password, roles: list(roles), ...(name ? { name } : {}) });
    again();
    return `Created: ${made.id}`;
  };
  const roles = (row: Account): void => {
    const given = prompt(`Roles of ${row.email}. Where one is taken away, the sessions of the user end.`, row.roles.join(' '));
    if (given !== null) void change(row, { roles: list(given) });
  };
  return (
    <section>
      <h2>Accounts</h2>
      <form class="search" role="search" onSubmit={(event) => { setCursors([]); setEmail(fields(event).email ?? ''); }}>
        <Field label="Email" name="email" type="search" />
        <button>Search</button>
      </form>
      <Trouble error={said || error} />
      {value && (
        <>
          <Table caption="Accounts, oldest first" empty="There are none." rows={value.accounts} id={({ id }) => id} columns={[
            { name: 'Email', cell: (row) => <>{row.email}{row.name && <span class="doc muted">{row.name}</span>}</> },
            { name: 'Id', cell: ({ id }) => <code class="name">{id}</code> },
            { name: 'Roles', cell: (row) => <>{row.roles.map((role) => <span class="tag">{role}</span>)} <button class="quiet" onClick={() => roles(row)} aria-label={`Change the roles of ${row.email}`}>Change</button></> },
            { name: 'Last login', cell: ({ last_login_at }) => (last_login_at ? `${ago(last_login_at)} ago` : 'never') },
            { name: 'State', cell: (row) => (
              <button class="quiet" onClick={() => void change(row, { disabled: row.disabled_at === null })} aria-label={`${row.disabled_at ? 'Switch on' : 'Switch off'} ${row.email}`}>
                {row.disabled_at ? 'Switch on' : 'Switch off'}
              </button>
            ) },
          ]} />
          <nav class="pages" aria-label="Pages of accounts">
            <button class="quiet" disabled={cursors.length === 0} onClick={() => setCursors(cursors.slice(0, -1))}>Back</button>
            <button class="quiet" disabled={!value.next_cursor} onClick={() => setCursors([...cursors, value.next_cursor!])}>Next</button>
          </nav>
        </>
      )}
      <details>
        <summary>New account</summary>
        <Form button="Create" send={create}>
          <Field label="Email" name="email" type="email" required autocomplete="off" />
          <Field label="Password" name="password" type="password" required minLength={8} autocomplete="new-password" />
          <Field label="Name" name="name" autocomplete="off" />
          <Field label="Roles" name="roles" placeholder="user" autocomplete="off" />
        </Form>
      </details>
    </section>
  );
}

function Keys() {
  const { value, error, again } = useAsked<{ keys: Key[] }>('keys');
  const [said, setSaid] = useState('');
  const [secret, setSecret] = useState('');
  const create = async (values: Record<string, string>): Promise<string> => {
    const scopes = ['publish', 'read', 'admin'].filter((scope) => values[scope]);
    const made = await call<{ key: string }>('POST', 'keys', { name: values.name, scopes });
    setSecret(made.key);
    again();
    return '';
  };
  const revoke = async ({ id, name }: Key): Promise<void> => {
    if (!confirm(`Revoke the key ${name}? Services that use it are refused from now on.`)) return;
    try {
      await call('DELETE', `keys/${encodeURIComponent(id)}`);
    } catch (failure) {
      setSaid((failure as Error).message);
    }
    again();
  };
  return (
    <section>
      <h2>API keys</h2>
      <Trouble error={said || error} />
      {secret && <Note kind="warning">The key, shown this once: <code class="secret">{secret}</code> <button class="quiet" onClick={() => setSecret('')}>Done</button></Note>}
      {value && (
        <Table caption="Keys in the database; those of the configuration file are not listed" empty="There are none. If no other key is configured, programs on this machine need none; as soon as there is a key, they need one." rows={value.keys} id={({ id }) => id} columns={[
          { name: 'Name', cell: ({ name }) => name },
          { name: 'Scopes', cell: ({ scopes }) => scopes.map((scope) => <span class="tag">{scope}</span>) },
          { name: 'Created', cell: ({ created_at }) => `${ago(created_at)} ago` },
          { name: 'Last use', cell: ({ last_used_at }) => (last_used_at ? `${ago(last_used_at)} ago` : 'never') },
          { name: 'State', cell: (row) => (row.revoked_at ? <span class="muted">revoked</span> : <button class="quiet" onClick={() => void revoke(row)} aria-label={`Revoke ${row.name}`}>Revoke…</button>) },
        ]} />
      )}
      <details>
        <summary>New key</summary>
        <Form button="Create" send={create}>
          <Field label="What it is for" name="name" required maxLength={200} autocomplete="off" />
          <fieldset>
            <legend>Scopes</legend>
            {['publish', 'read', 'admin'].map((scope) => <label class="check"><input type="checkbox" name={scope} value="yes" /> {scope}</label>)}
          </fieldset>
        </Form>
      </details>
    </section>
  );
}
