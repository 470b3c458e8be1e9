// The frame of the pages: sign-in, navigation, and the current page.

import { render } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { call, Failure, hasCredential, signInWithAccount, signInWithKey, signOut, whenSignedOut } from './api';
import logo from './logo.svg';
import { AccountsPage } from './pages/accounts';
import { ChannelsPage } from './pages/channels';
import { ConfigurationPage } from './pages/configuration';
import { ConnectionsPage } from './pages/connections';
import { OverviewPage } from './pages/overview';
import { ProblemsPage } from './pages/problems';
import './design.css';
import { TracePage } from './pages/trace';
import './style.css';
import { Field, Form, Note } from './ui';

const PAGES = [
  { path: 'overview', title: 'Overview', Page: OverviewPage },
  { path: 'connections', title: 'Connections', Page: ConnectionsPage },
  { path: 'channels', title: 'Channels and users', Page: ChannelsPage },
  { path: 'trace', title: 'Trace', Page: TracePage },
  { path: 'accounts', title: 'Accounts and keys', Page: AccountsPage },
  { path: 'configuration', title: 'Configuration', Page: ConfigurationPage },
  { path: 'problems', title: 'Problems', Page: ProblemsPage },
];

// `#/connections?user=ann`: the page and its parameters. A credential is never in the address.
const here = (): { path: string; asked: URLSearchParams } => {
  const [path = '', search = ''] = location.hash.replace(/^#\/?/, '').split('?');
  return { path, asked: new URLSearchParams(search) };
};

function App() {
  const [state, setState] = useState<'asking' | 'in' | 'out' | 'unreachable'>('asking');
  const [why, setWhy] = useState('');
  const ask = (): void => {
    setState('asking');
    call('GET', 'overview').then(
      () => setState('in'),
      (failure: unknown) => {
        if (failure instanceof Failure && failure.status === 401) return;
        setWhy((failure as Error).message);
        setState('unreachable');
      },
    );
  };
  useEffect(() => {
    whenSignedOut((why) => {
      setWhy(why);
      setState('out');
    });
    ask();
  }, []);
  if (state === 'in') return <Frame />;
  if (state === 'out') return <SignIn why={why} done={ask} />;
  return (
    <main class="alone">
      {state === 'asking' ? <p class="muted">Asking the server…</p> : (
        <><Note kind="error">{why}</Note><button onClick={ask}>Try again</button> {hasCredential() && <button class="quiet" onClick={signOut}>Sign out</button>}</>
      )}
    </main>
  );
}

function Frame() {
  const [place, setPlace] = useState(here);
  useEffect(() => {
    const moved = (): void => setPlace(here());
    addEventListener('hashchange', moved);
    return () => removeEventListener('hashchange', moved);
  }, []);
  // The form disappears after a sign-in: move the focus to the page.
  useEffect(() => document.getElementById('main')?.focus(), []);
  const page = PAGES.find(({ path }) => path === place.path) ?? PAGES[0]!;
  useEffect(() => {
    document.title = `${page.title} · Fanfare`;
    // On a phone the contents are a row that scrolls.
    document.querySelector('nav [aria-current]')?.scrollIntoView({ inline: 'center', block: 'nearest' });
  }, [page]);
  return (
    <div class="frame">
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById('main')?.focus(); }}>Skip to the content</a>
      <nav aria-label="Pages">
        <span class="brand"><img src={logo} alt="" width="28" height="28" />Fanfare</span>
        <ul>
          {PAGES.map(({ path, title }) => (
            <li><a href={`#/${path}`} aria-current={path === page.path ? 'page' : undefined}>{title}</a></li>
          ))}
        </ul>
        {hasCredential() && <button class="quiet" onClick={signOut}>Sign out</button>}
      </nav>
      <main id="main" tabIndex={-1}>
        <h1>{page.title}</h1>
        <page.Page key={`${page.path}?${place.asked}`} asked={place.asked} />
      </main>
    </div>
  );
}

function SignIn({ why, done }: { why: string; done: () => void }) {
  const withKey = async ({ key = '' }: Record<string, string>): Promise<string> => {
    signInWithKey(key);
    done();
    return '';
  };
  const withAccount = async ({ email = '', password = '' }: Record<string, string>): Promise<string> => {
    await signInWithAccount(email, password);
    done();
    return '';
  };
  return (
    <main class="alone">
      <h1><img src={logo} alt="" width="36" height="36" />Fanfare</h1>
      {why && <Note kind="error">{why}</Note>}
      <section>
        <h2>API key</h2>
        <Form button="Sign in" send={withKey}>
          <Field label="Key" name="key" type="password" required autocomplete="off" spellcheck={false} />
        </Form>
        <p class="muted">One with the scope <code>read</code> sees connections and figures; <code>admin</code> may do everything.</p>
      </section>
      <section>
        <h2>Account with the role admin</h2>
        <Form button="Log in" send={withAccount}>
          <Field label="Email" name="email" type="email" required autocomplete="username" />
          <Field label="Password" name="password" type="password" required autocomplete="current-password" />
        </Form>
      </section>
      <p class="muted">The credential stays in this tab and is gone with it.</p>
    </main>
  );
}

render(<App />, document.body);
