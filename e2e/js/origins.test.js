// Pages of other sites: the same sites may connect, call and read in every dialect.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBrowser } from './browser.js';
import { Fanfare, token } from './fanfare.js';

const browser = startBrowser();
const KEY = 'a-key-for-backends-0123456789';
const BEARER = { authorization: `Bearer ${KEY}` };
const DIALECTS = {
  notify: { path: '/ws', read: ['/health', '/metrics'] },
  broadcast: { path: '/ws', read: ['/health', '/status', '/metrics/prometheus'] },
  topics: { path: '/ws', read: ['/health'] },
  realtime: { path: '/ws', read: ['/health', '/info'] },
  rooms: { path: '/api/v1/ws/connect', read: ['/health'] },
};
const LISTENERS = Object.keys(DIALECTS).map((dialect) => ({ dialects: [dialect] }));

const start = (t, allowed_origins) =>
  Fanfare.start(t, { listener: LISTENERS, auth: { allowed_origins }, api: { keys: [KEY] } });

// The figures of one dialect need the key; probes need none.
const reading = (route) => (route.endsWith('/status') ? { headers: BEARER } : {});

// Each dialect's name, its WebSocket address, and a route beside it.
const addresses = (server) =>
  Object.entries(DIALECTS).map(([dialect, { path, read }], listener) => ({
    dialect,
    url: server.ws(path, { user: 'ann', listener }),
    read: read.map((route) => server.http(route, listener)),
    publish: server.http('/api/v1/events', listener),
  }));

// A request for which the browser sends a preflight, because of its method, type and header.
const event = (headers) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify({ to: { user: 'ann' }, type: 'note', data: {} }),
});

test('pages of an allowed site connect, call and read; pages of another site cannot', async (t) => {
  const server = await start(t, [browser.origin]);
  for (const [from, allowed] of [[browser.origin, true], [browser.foreign, false]]) {
    const tab = await browser.tab(t, undefined, { from });
    for (const { dialect, url, read, publish } of addresses(server)) {
      const what = `${dialect} from ${from}`;
      await tab.connect(url);
      assert.equal(tab.opened, allowed, what);
      if (!allowed) assert.equal((await tab.closed()).code, 1006, what);
      for (const route of read) {
        assert.equal((await tab.fetch(route, reading(route))).status, allowed ? 200 : undefined, `${route}, ${what}`);
      }
      const answer = await tab.fetch(publish, event(BEARER));
      assert.equal(answer.status, allowed ? 200 : undefined, what);
      assert.equal((await tab.fetch(publish, event({}))).status, allowed ? 401 : undefined, `no key, ${what}`);
    }
  }
});

test('by default pages of any site connect, call and read', async (t) => {
  const server = await start(t, ['*']);
  const tab = await browser.tab(t, undefined, { from: browser.foreign });
  for (const { dialect, url, read, publish } of addresses(server)) {
    await tab.connect(url);
    assert.equal(tab.opened, true, dialect);
    for (const route of read) assert.equal((await tab.fetch(route, reading(route))).status, 200, route);
    assert.equal((await tab.fetch(publish, event(BEARER))).status, 200, dialect);
    assert.equal((await tab.fetch(publish, event({}))).status, 401, dialect);
  }
});

test('the refusal is 403 before the upgrade, whatever the token', async (t) => {
  const server = await start(t, ['https://app.example.com']);
  for (const { dialect, url } of addresses(server)) {
    const plain = url.split('?')[0];
    for (const address of [url, plain, `${plain}?token=not.a.token`]) {
      const { status } = await server.connect(address, { origin: 'https://evil.example.com' }).refused;
      assert.equal(status, 403, `${dialect} ${address}`);
    }
    for (const origin of ['https://app.example.com', undefined]) {
      await server.connect(url, { origin }).opened;
    }
  }
});

test('a page can read why a request failed', async (t) => {
  const server = await start(t, [browser.origin]);
  const tab = await browser.tab(t);
  const { status, body } = await tab.fetch(server.http('/notify', 1), { method: 'POST', body: '{}' });
  assert.equal(status, 401);
  assert.ok(body.error.message);
  assert.equal((await tab.fetch(server.http('/nowhere', 1))).status, 404);
});

test('a page may send a header to the probes', async (t) => {
  const server = await start(t, [browser.origin]);
  const tab = await browser.tab(t);
  for (const route of ['/health', '/metrics', '/metrics/prometheus', '/livez', '/readyz']) {
    assert.equal((await tab.fetch(server.http(route), { headers: BEARER })).status, 200, route);
  }
});
