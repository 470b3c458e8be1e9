// The operators' page at /admin in a real browser: access, content, and that hostile names stay text.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { WebSocket } from 'ws';
import { startBrowser } from './browser.js';
import { Fanfare, waitUntil } from './fanfare.js';

const browser = startBrowser();
const KEY = 'a-key-for-operators-0123456789';
const HOSTILE = '<img src=x onerror=window.harmed=1>';

// Runs in the page: waits until its text contains `wanted`, and returns all of it. An empty `wanted` waits for any text.
const shown = async (wanted) => {
  while (!document.body.innerText.includes(wanted)) await new Promise((done) => setTimeout(done, 20));
  return document.body.innerText;
};

// Runs in the page: fills in the form whose button has this text, and submits it.
const send = async ([button, values]) => {
  const find = () => [...document.querySelectorAll('form')].find((form) => form.querySelector('button')?.textContent === button);
  while (!find()) await new Promise((done) => setTimeout(done, 20));
  const form = find();
  for (const [name, value] of Object.entries(values)) form.elements[name].value = value;
  form.requestSubmit();
};

const go = (hash) => void (location.hash = hash);
const harmed = () => [window.harmed, document.querySelectorAll('img:not([src$=".svg"])').length];

async function connected(t, server, user) {
  const socket = new WebSocket(server.ws('/ws', { user }));
  t.after(() => socket.terminate());
  await new Promise((open, failed) => socket.once('open', open).once('error', failed));
  return socket;
}

test('a key opens the page, and a wrong one does not', async (t) => {
  const server = await Fanfare.start(t, { api: { keys: [KEY] } });
  const tab = await browser.tab(t, undefined, { from: server.http('/admin') });
  await tab.evaluate(shown, 'API key');
  await tab.evaluate(send, ['Sign in', { key: 'wrong' }]);
  await tab.evaluate(shown, 'not valid');
  await tab.evaluate(send, ['Sign in', { key: KEY }]);
  const text = await tab.evaluate(shown, 'Nodes');
  assert.ok(text.includes('Events in') && text.includes('notify'), text);
  const kept = await tab.evaluate(() => [location.href, document.cookie, JSON.stringify(localStorage)].join(' '));
  assert.ok(!kept.includes(KEY), 'the key stays in the tab');
});

test('every page shows its data, and names stay text', async (t) => {
  const server = await Fanfare.start(t, { listener: [{ dialects: ['notify', 'realtime'] }] });
  await connected(t, server, HOSTILE);
  const tab = await browser.tab(t, undefined, { from: server.http('/admin') });
  await tab.evaluate(shown, 'Nodes');
  for (const [hash, wanted] of [
    ['#/connections', HOSTILE], ['#/connections?dialect=realtime', 'no such connections'], ['#/channels', HOSTILE],
    [`#/channels?channel=news&user=${encodeURIComponent(HOSTILE)}`, 'subscribe: allowed'], ['#/accounts', 'API keys'],
    ['#/configuration', 'auth.jwt_secret'], ['#/problems', 'Now, and in the last ten minutes'], ['#/nothing', 'Nodes'],
  ]) {
    await tab.evaluate(go, hash);
    await tab.evaluate(shown, wanted);
  }
  assert.deepEqual(await tab.evaluate(harmed), [undefined, 0]);
  const elsewhere = await tab.evaluate(() => performance.getEntriesByType('resource').map(({ name }) => new URL(name).origin).filter((origin) => origin !== location.origin));
  assert.deepEqual(elsewhere, []);
});

test('an operator publishes, inspects a connection, and closes it', async (t) => {
  const server = await Fanfare.start(t, { api: { keys: [KEY] } });
  const socket = await connected(t, server, 'ann');
  const received = new Promise((resolve) => socket.once('message', (data) => resolve(JSON.parse(data))));
  const closed = new Promise((resolve) => socket.once('close', resolve));
  const tab = await browser.tab(t, undefined, { from: server.http('/admin') });
  await tab.evaluate(send, ['Sign in', { key: KEY }]);
  await tab.evaluate(shown, 'Nodes');
  await tab.evaluate(go, '#/channels');
  await tab.evaluate(send, ['Publish', { audience: 'user', name: 'ann', type: 'greeting', data: '{"text":"hello"}' }]);
  await tab.evaluate(shown, '1 of 1 connections got it');
  assert.deepEqual((await received).payload, { text: 'hello' });
  await tab.evaluate(go, '#/connections?user=ann');
  const press = async (text) => {
    const find = () => [...document.querySelectorAll('button')].find((button) => button.textContent === text);
    while (!find()) await new Promise((done) => setTimeout(done, 20));
    find().click();
  };
  await tab.evaluate(press, 'Details');
  await tab.evaluate(shown, 'Last heard from');
  await tab.evaluate(press, 'Close this connection…');
  await tab.evaluate(press, 'Close it');
  assert.equal(await closed, 1008);
  await tab.evaluate(shown, 'no such connections');
});

// The pages that an admin has open when the role is removed.
const OPEN = {
  'the overview': async (tab) => tab.evaluate(shown, 'Events in'),
  'a list of traces': async (tab) => { await tab.evaluate(go, '#/trace'); await tab.evaluate(shown, 'None yet.'); },
  'a live tail': async (tab) => {
    await tab.evaluate(go, '#/channels');
    await tab.evaluate(send, ['Listen', { channel: 'chat.*' }]);
    await tab.evaluate(shown, 'Listening.');
  },
};

for (const [what, open] of Object.entries(OPEN)) {
  test(`an admin whose role is taken away is signed out of ${what}`, async (t) => {
    const server = await Fanfare.start(t, { api: { keys: [KEY] } });
    const call = async (method, path, body) => {
      const headers = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' };
      const answer = await fetch(server.http(path), { method, headers, body: JSON.stringify(body) });
      return answer.json();
    };
    const [email, password] = ['root@example.com', 'correct horse battery'];
    const { id } = await call('POST', '/api/v1/accounts', { email, password, roles: ['admin'] });
    const tab = await browser.tab(t, undefined, { from: server.http('/admin') });
    await tab.evaluate(send, ['Log in', { email, password }]);
    await tab.evaluate(shown, 'Nodes');
    await open(tab);
    await call('PATCH', `/api/v1/accounts/${id}`, { roles: ['user'] });
    const text = await tab.evaluate(shown, 'API key');
    assert.ok(text.includes('not valid (any more)'), text);
  });
}

test('the page is served with a trailing slash and below a prefix, and can be disabled', async (t) => {
  const server = await Fanfare.start(t, { listener: [{ dialects: ['notify'], prefix: '/a' }] });
  const tab = await browser.tab(t, undefined, { from: server.http('/admin/') });
  await tab.evaluate(shown, 'Nodes');
  assert.equal(await tab.evaluate(() => location.pathname), '/a/admin');
  const off = await Fanfare.start(t, { api: { admin: 'off' } });
  for (const path of ['/admin', '/admin/', '/admin/app.js']) assert.equal((await fetch(off.http(path))).status, 404, path);
  const guarded = await Fanfare.start(t, { api: { admin: 'key', keys: [KEY] } });
  assert.equal((await fetch(guarded.http('/admin'))).status, 401);
  const headers = { authorization: `Bearer ${KEY}` };
  assert.equal((await fetch(guarded.http('/admin'), { headers })).status, 200);
});

test('names of ten megabytes, of HTML, emoji and controls stay text', async (t) => {
  const server = await Fanfare.start(t, { api: { keys: [KEY] }, limits: { max_body_size: 16_777_216 } });
  const names = ['\u{1F4A5}\u202Eevil', '"><script>window.harmed=1</script>', '{{constructor.constructor("window.harmed=1")()}}', 'a'.repeat(255)];
  for (const name of names) await connected(t, server, name);
  const huge = JSON.stringify({ to: { channel: 'x'.repeat(10_000_000) }, data: 1 });
  const refused = await fetch(server.http('/api/v1/events'), { method: 'POST', body: huge, headers: { authorization: `Bearer ${KEY}` } });
  assert.equal(refused.status, 400);
  assert.ok((await refused.text()).length < 1000, 'the name is not repeated');
  const tab = await browser.tab(t, undefined, { from: server.http('/admin') });
  await tab.evaluate(send, ['Sign in', { key: KEY }]);
  await tab.evaluate(shown, 'Nodes');
  for (const hash of ['#/connections', '#/channels']) {
    await tab.evaluate(go, hash);
    for (const name of names) await tab.evaluate(shown, name);
  }
  assert.deepEqual(await tab.evaluate(harmed), [undefined, 0]);
  assert.ok(await tab.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out');
});

test('accounts and keys have hostile names, and a key shows the time of its last use', async (t) => {
  const server = await Fanfare.start(t, { api: { keys: [KEY] }, broker: { kind: 'memory' } });
  const name = `${HOSTILE} \u{1F469}\u{1F3FD} {{7*7}}`;
  const call = async (method, path, body, key = KEY) => {
    const answer = await fetch(server.http(path), { method, headers: { authorization: `Bearer ${key}` }, body: body && JSON.stringify(body) });
    assert.ok(answer.ok, `${path}: ${answer.status} ${answer.ok || (await answer.text())}`);
    return answer.json();
  };
  await call('POST', '/api/v1/accounts', { email: 'ann@example.com', password: 'correct horse battery', name, roles: ['user'] });
  const { key } = await call('POST', '/api/v1/keys', { name, scopes: ['read'] });
  await call('POST', '/api/v1/keys', { name: 'idle', scopes: ['read'] });
  await call('GET', '/api/v1/overview', undefined, key);
  await waitUntil(async () => (await call('GET', '/api/v1/keys')).keys.some((own) => own.last_used_at), 'the last use');
  const tab = await browser.tab(t, undefined, { from: server.http('/admin') });
  await tab.evaluate(send, ['Sign in', { key: KEY }]);
  await tab.evaluate(shown, 'Nodes');
  await tab.evaluate(go, '#/accounts');
  await tab.evaluate(shown, 'ann@example.com');
  await tab.evaluate(shown, 'idle');
  const uses = await tab.evaluate(() => Object.fromEntries([...document.querySelectorAll('tr')]
    .map((row) => [row.querySelector('[data-name=Name]'), row.querySelector('[data-name="Last use"]')])
    .filter(([name]) => name).map((cells) => cells.map(({ textContent }) => textContent))));
  assert.deepEqual(Object.keys(uses), [name, 'idle']);
  assert.equal(uses.idle, 'never');
  assert.match(uses[name], / ago$/);
  assert.deepEqual(await tab.evaluate(harmed), [undefined, 0]);
  assert.ok(await tab.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out');
});

test('a trace explains why a user receives an event or not, and names stay text', async (t) => {
  const server = await Fanfare.start(t, { listener: [{ dialects: ['notify', 'realtime'] }] });
  await connected(t, server, HOSTILE);
  const publish = (body) => fetch(server.http('/api/v1/events'), { method: 'POST', body: JSON.stringify(body) });
  const tab = await browser.tab(t, undefined, { from: server.http('/admin') });
  await tab.evaluate(shown, 'Nodes');
  await tab.evaluate(go, `#/trace?for=${encodeURIComponent(HOSTILE)}`);
  await tab.evaluate(send, ['Arm', { user: HOSTILE }]);
  await tab.evaluate(shown, 'Armed until');
  assert.equal((await publish({ to: { user: HOSTILE }, type: `${HOSTILE}😀`, data: 'secret words' })).status, 200);
  await tab.evaluate(shown, `${HOSTILE}😀`);
  await tab.evaluate(() => [...document.querySelectorAll('button')].find(({ textContent }) => textContent === 'Disarm').click());
  await tab.evaluate(async () => { while (document.body.innerText.includes('Enough events?')) await new Promise((done) => setTimeout(done, 20)); });
  await publish({ to: { user: HOSTILE }, type: 'unseen', data: 1 });
  assert.equal((await (await server.fetch('/api/v1/trace')).json()).events.length, 1, 'nothing is recorded after that');
  await tab.evaluate(() => document.querySelector('td a[href^="#/trace?event="]').click());
  const text = await tab.evaluate(shown, 'acknowledged');
  assert.ok(text.includes('service_api') && text.includes('1 matched, 1 queued') && !text.includes('secret words'), text);
  await tab.evaluate(send, ['Answer', { user: 'nobody' }]);
  await tab.evaluate(shown, 'the event is for the user');
  await tab.evaluate(go, '#/trace?event=00000000-0000-0000-0000-000000000007');
  await tab.evaluate(shown, 'no node has a trace of this event');
  await tab.evaluate(go, `#/trace?event=${encodeURIComponent(HOSTILE)}`);
  await tab.evaluate(shown, 'not a UUID');
  assert.deepEqual(await tab.evaluate(harmed), [undefined, 0]);
});

test('a channel shows its members, its kept events, and why a connection receives nothing', async (t) => {
  const server = await Fanfare.start(t, {
    listener: [{ dialects: ['notify', 'realtime'] }],
    channel: [{ pattern: 'staff.**', subscribe: 'role:staff', history: { size: 30, ttl: '1h' } }],
  });
  const socket = await connected(t, server, 'bob');
  const realtime = new WebSocket(server.ws('/ws', { user: 'bob', query: { dialect: 'realtime' } }));
  t.after(() => realtime.terminate());
  await new Promise((open, failed) => realtime.once('open', open).once('error', failed));
  realtime.send(JSON.stringify({ type: 'Subscribe', data: { topics: ['staff.**'] } }));
  for (let number = 1; number <= 25; number++) {
    const body = JSON.stringify({ to: { channel: 'staff.news' }, type: 'note', data: { number, text: HOSTILE } });
    await fetch(server.http('/api/v1/events'), { method: 'POST', body, headers: { 'content-type': 'application/json' } });
  }
  const tab = await browser.tab(t, undefined, { from: server.http('/admin') });
  await tab.evaluate(shown, 'Nodes');
  await tab.evaluate(go, '#/channels?channel=staff.news&user=bob');
  await tab.evaluate(shown, 'it has not subscribed');
  await tab.evaluate(shown, 'the access rules refuse it');
  const text = await tab.evaluate(shown, '"number":25');
  assert.ok(text.includes('receive it: 0') && text.includes('The newest 30 events, for 1h') && !text.includes('"number":5,'), text);
  await tab.evaluate(() => [...document.querySelectorAll('h3')].find(({ textContent }) => textContent === 'History').parentElement.querySelector('nav.pages button:last-child').click());
  await tab.evaluate(shown, '"number":5,');
  await tab.evaluate(go, '#/channels?channel=project:7');
  await tab.evaluate(shown, 'Nobody is in this room.');
  await tab.evaluate(shown, 'None is kept');
  assert.deepEqual(await tab.evaluate(harmed), [undefined, 0]);
  socket.close();
});

test('a long name breaks in its column, on every width', async (t) => {
  const server = await Fanfare.start(t);
  await connected(t, server, 'W'.repeat(200));
  const call = (path, body) => fetch(server.http(`/api/v1/${path}`), { method: 'POST', body: JSON.stringify(body) }).then((answer) => answer.json());
  await call('accounts', { email: `${'w'.repeat(60)}@example.com`, password: 'correct horse battery', roles: ['r'.repeat(60)] });
  await call('trace', { user: 'W'.repeat(200) });
  const { ids: [event] } = await call('events', { to: { user: 'W'.repeat(200) }, type: 'T'.repeat(200), data: 1 });
  const pages = {
    overview: 'Nodes', connections: 'WWWW', channels: 'WWWW', configuration: 'auth.jwt_secret', accounts: 'wwww@example.com',
    [`trace?event=${event}`]: 'acknowledged', problems: 'in the last ten minutes',
  };
  for (const [width, height] of [[1280, 900], [820, 1100], [320, 700]]) {
    const tab = await browser.tab(t, undefined, { from: server.http('/admin'), size: { width, height } });
    for (const [page, wanted] of Object.entries(pages)) {
      await tab.evaluate(go, `#/${page}`);
      await tab.evaluate(shown, wanted);
      const wide = await tab.evaluate(() => [document.documentElement, ...document.querySelectorAll('.table')].map((one) => one.scrollWidth - one.clientWidth));
      assert.deepEqual(wide.filter((more) => more > 0), [], `${page} at ${width}`);
      // Short texts in other columns stay on one line.
      const broken = await tab.evaluate(() => [...document.querySelectorAll('td button, td code:not(.name), td .short')].filter((one) => one.getBoundingClientRect().height > 36).map(({ textContent }) => textContent));
      assert.deepEqual(broken, [], `${page} at ${width}`);
    }
  }
});

test('the keyboard continues at the element that replaced a button', async (t) => {
  const server = await Fanfare.start(t, { api: { keys: [KEY] } });
  await connected(t, server, 'ann');
  const tab = await browser.tab(t, undefined, { from: server.http('/admin') });
  await tab.evaluate(send, ['Sign in', { key: KEY }]);
  await tab.evaluate(shown, 'Nodes');
  assert.equal(await tab.evaluate(() => document.activeElement.id), 'main');
  await tab.evaluate(go, '#/connections');
  await tab.evaluate(shown, 'ann');
  const press = async (text) => {
    const find = () => [...document.querySelectorAll('button')].find(({ textContent }) => textContent === text);
    while (!find()) await new Promise((done) => setTimeout(done, 20));
    find().click();
  };
  await tab.evaluate(press, 'Details');
  await tab.evaluate(press, 'Close this connection…');
  await tab.evaluate(shown, 'most connect again');
  assert.equal(await tab.evaluate(() => document.activeElement.textContent), 'Close it');
});

test('the overview shows the current latency, refusals, and a certificate', async (t) => {
  const file = (name) => fileURLToPath(new URL(`../python/tls/${name}.txt`, import.meta.url));
  const server = await Fanfare.start(t, { listener: [{ dialects: ['notify'] }, { dialects: [], tls: { cert: file('cert'), key: file('key') } }] });
  await server.dial('?token=no.token.here').refused;
  await connected(t, server, 'ann');
  const publish = () => fetch(server.http('/api/v1/events'), { method: 'POST', body: JSON.stringify({ to: { user: 'ann' }, data: 1 }) });
  await publish();
  const tab = await browser.tab(t, undefined, { from: server.http('/admin') });
  // Figures from before the page was opened do not count.
  await tab.evaluate(shown, 'none in the last');
  await publish();
  const text = await tab.evaluate(shown, 'half ≤');
  assert.match(text, /Certificate\s+[\d,]+ d left/);
  assert.equal(await tab.evaluate(() => document.querySelector('td[data-name=Refused] [title]').title), 'bad_credential: 1');
});

test('a link that explains a channel shows the answer, and the operator publishes there', async (t) => {
  const server = await Fanfare.start(t, { listener: [{ dialects: ['notify', 'realtime'] }] });
  for (let number = 0; number < 15; number++) await connected(t, server, `user-${number}`);
  const tab = await browser.tab(t, undefined, { from: server.http('/admin') });
  await tab.evaluate(shown, 'Nodes');
  await tab.evaluate(go, '#/channels');
  await tab.evaluate(shown, 'user-14');
  await tab.evaluate(() => [...document.querySelectorAll('a')].findLast(({ textContent }) => textContent === 'explain').click());
  await tab.evaluate(shown, 'receive it: 1');
  const [top, name] = await tab.evaluate(() => [document.querySelector('.decisions').getBoundingClientRect().top / innerHeight, document.querySelector('input[name=name]').value]);
  assert.ok(top > 0 && top < 1 && name.startsWith('notifications.user.user-'), `${top} ${name}`);
  assert.equal(await tab.evaluate(() => document.querySelector('select[name=audience]').value), 'channel');
  // The search field keeps its text, so that the user can extend it.
  await tab.evaluate(go, '#/connections?user=user-3&dialect=notify&sort=queued');
  await tab.evaluate(shown, 'notify');
  const chosen = () => ['user', 'dialect', 'sort'].map((name) => document.querySelector(`form.search [name=${name}]`).value);
  await waitUntil(async () => (await tab.evaluate(chosen)).join() === 'user-3,notify,queued', 'the form as it was sent');
});

test('published events are shown live, and a key without the scope sees no data', async (t) => {
  const server = await Fanfare.start(t, { api: { keys: [KEY] } });
  const call = (method, path, body) => fetch(server.http(path), {
    method, headers: { authorization: `Bearer ${KEY}` }, body: body && JSON.stringify(body),
  });
  const { key } = await (await call('POST', '/api/v1/keys', { name: 'reader', scopes: ['read'] })).json();
  const tab = await browser.tab(t, undefined, { from: server.http('/admin') });
  await tab.evaluate(send, ['Sign in', { key }]);
  await tab.evaluate(shown, 'Nodes');
  await tab.evaluate(go, '#/channels');
  await tab.evaluate(send, ['Listen', { channel: 'chat.*' }]);
  await tab.evaluate(shown, 'Listening.');
  await call('POST', '/api/v1/events', { to: { channel: 'chat.a' }, type: HOSTILE, data: 'secret words' });
  const text = await tab.evaluate(shown, HOSTILE);
  assert.ok(text.includes('chat.a') && !text.includes('secret words'), text);
  await tab.evaluate(() => { document.querySelector('input[name=data]').checked = true; });
  await tab.evaluate(send, ['Listen', { channel: 'chat.*' }]);
  await tab.evaluate(shown, 'scope');
  await tab.evaluate(() => [...document.querySelectorAll('button')].find(({ textContent }) => textContent === 'Sign out').click());
  await tab.evaluate(send, ['Sign in', { key: KEY }]);
  await tab.evaluate(shown, 'What is published, live');
  await tab.evaluate(() => new Promise((done) => {
    const look = () => { const box = document.querySelector('input[name=data]'); if (box) { box.checked = true; done(); } else setTimeout(look, 20); };
    look();
  }));
  await tab.evaluate(send, ['Listen', { channel: 'chat.*' }]);
  await tab.evaluate(shown, 'Listening.');
  await call('POST', '/api/v1/events', { to: { channel: 'chat.a' }, data: `${HOSTILE} 😀` });
  await tab.evaluate(shown, `"${HOSTILE} 😀"`);
  const raw = (data) => fetch(server.http('/api/v1/events'), {
    method: 'POST', headers: { authorization: `Bearer ${KEY}` }, body: `{"to":{"channel":"chat.a"},"data":${data},"metadata":{"of":"mine"}}`,
  });
  // Numbers are shown as they were written, and long texts are cut.
  await raw('[12345678901234567890,1.50]');
  await tab.evaluate(shown, '[12345678901234567890,1.50]');
  await raw(`"${'x'.repeat(50_000)}"`);
  const long = await tab.evaluate(shown, '(50,002 characters)');
  assert.ok(long.length < 10_000 && long.includes('{"of":"mine"}'));
  assert.deepEqual(await tab.evaluate(harmed), [undefined, 0]);
  assert.equal((await call('DELETE', `/api/v1/keys/${(await (await call('GET', '/api/v1/keys')).json()).keys[0].id}`)).status, 204);
});

// The types of answers in the page's source, and the place of each in the server's description.
const ANSWERS = {
  Overview: ['/overview'], NodeFigures: ['/overview', 'nodes'], Dialect: ['/overview', 'nodes', 'dialects'],
  Connection: ['/connections/{id}'], Details: ['/connections/{id}', 'details'], Problem: ['/problems', 'problems'],
  Explained: ['/explain'], Decision: ['/explain', 'decisions'], NodeConfiguration: ['/configuration', 'nodes'],
  Setting: ['/configuration', 'nodes', 'settings'], Account: ['/accounts', 'accounts'], Key: ['/keys', 'keys'],
  TracedEvents: ['/trace'], TracedEvent: ['/trace', 'events'], Trace: ['/trace/{id}'], TraceEntry: ['/trace/{id}', 'entry'],
  Delivery: ['/trace/{id}', 'deliveries'], TracedConnection: ['/trace/{id}', 'deliveries', 'connections'],
  About: ['/trace/{id}', 'about'],
};

test('the page knows each field of the answers', async (t) => {
  const server = await Fanfare.start(t);
  const description = await (await server.fetch('/openapi.json')).json();
  const followed = ({ $ref, ...schema }) => ($ref ? followed($ref.slice(2).split('/').reduce((at, name) => at[name], description)) : schema);
  // The fields of an object, of the items of a list, and of a value that may be null.
  const fields = (schema) => {
    const { properties, items, oneOf = [], allOf = [] } = followed(schema);
    return Object.assign({}, properties, ...[items ?? [], oneOf, allOf].flat().map(fields));
  };
  const source = readFileSync(new URL('../../admin/src/api.ts', import.meta.url), 'utf8');
  for (const [name, [path, ...inner]] of Object.entries(ANSWERS)) {
    const answer = description.paths[`/api/v1${path}`].get.responses[200].content['application/json'].schema;
    const described = inner.reduce((schema, field) => fields(schema)[field], answer);
    const [, body] = source.match(new RegExp(`^export interface ${name} \\{\\n([\\s\\S]*?)^\\}`, 'm')) ?? assert.fail(name);
    const known = [...body.matchAll(/^  (\w+)\??:/gm)].map(([, field]) => field);
    assert.deepEqual(known.sort(), Object.keys(fields(described)).sort(), name);
  }
});
