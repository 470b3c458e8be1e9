// The addresses of the dialects: their default ports, and the paths of a configuration.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, request } from 'node:http';
import { connect, createServer as createProbe } from 'node:net';
import { afterEach, test } from 'node:test';
import { startBrowser } from './browser.js';
import { Client, Fanfare, token } from './fanfare.js';

const browser = startBrowser();
const ROOMS = '/api/v1/ws/connect';

// The answer of each dialect to a handshake, by which the tests distinguish them.
const GREETINGS = {
  notify: async (url) => assert.match((await dialled(url).refused).body, /missing token parameter/),
  broadcast: async (url) => assert.equal((await first(url)).type, 'welcome'),
  topics: async (url) => assert.equal((await first(url, { type: 'subscribe', topic: 'a' })).code, 401),
  realtime: async (url) => assert.equal((await first(url)).data.status, 'connected'),
  rooms: async (url) => assert.equal((await dialled(url).closed).code, 4401),
};

const clients = [];
afterEach(() => clients.splice(0).forEach((client) => client.socket.terminate()));

function dialled(url) {
  const client = new Client(url);
  clients.push(client);
  return client;
}

async function first(url, sent) {
  const client = dialled(url);
  await client.opened;
  if (sent) client.send(sent);
  return client.nextJson();
}

// --- the dialects' default ports ---

const DEFAULT_PORTS = [8081, 8000, 3000, 8082];
const PLACES = {
  notify: { port: 8081, path: '/ws' },
  broadcast: { port: 8000, path: '/ws' },
  topics: { port: 3000, path: '/ws' },
  realtime: { port: 8081, path: '/ws' },
  rooms: { port: 8000, path: ROOMS },
};

function isTaken(port) {
  const probe = createProbe();
  return new Promise((resolve) => {
    probe.on('error', () => resolve(true));
    probe.listen(port, '0.0.0.0', () => probe.close(() => resolve(false)));
  });
}

// These ports are fixed, so another program on the machine may use one.
async function needs(t, ports) {
  for (const port of ports) {
    if (await isTaken(port)) {
      t.skip(`something else listens on port ${port}`);
      return false;
    }
  }
  return true;
}

const ports = (server) => server.addresses.filter(({ serves }) => !serves.startsWith('Redis')).map(({ port }) => port);

for (const profile of ['default', 'production']) {
  test(`the ${profile} profile has all five dialects on their ports`, async (t) => {
    if (!(await needs(t, DEFAULT_PORTS))) return;
    // The production profile lists no page, and requires a token of every client.
    const opened = ['--profile', profile, '--set', 'auth.allowed_origins=["*"]', '--set', 'realtime.require_auth=false'];
    const server = await Fanfare.startBare(t, 4, ...(profile === 'default' ? [] : opened));
    assert.deepEqual(ports(server).sort(), [...DEFAULT_PORTS].sort());
    for (const [dialect, { port, path }] of Object.entries(PLACES)) {
      const at = dialect === 'realtime' ? 8082 : port;
      await GREETINGS[dialect](`ws://127.0.0.1:${at}${path}`);
    }
    await GREETINGS.realtime('ws://127.0.0.1:8081/ws?dialect=realtime');
    for (const port of DEFAULT_PORTS) {
      const { status } = await (await fetch(`http://127.0.0.1:${port}/health`)).json();
      assert.equal(status, 'healthy');
    }
  });
}

for (const [dialect, { port, path }] of Object.entries(PLACES)) {
  test(`the profile ${dialect} has that dialect alone on its port`, async (t) => {
    if (!(await needs(t, [port]))) return;
    const server = await Fanfare.startBare(t, 1, '--profile', dialect);
    assert.deepEqual(ports(server), [port]);
    assert.equal(server.addresses[0].serves, dialect);
    await GREETINGS[dialect](`ws://127.0.0.1:${port}${path}`);
    const other = path === ROOMS ? '/ws' : ROOMS;
    assert.equal((await dialled(`ws://127.0.0.1:${port}${other}`).refused).status, 404);
  });
}

// --- several listeners, each below its own path ---

const PREFIXES = { '/a': 'notify', '/b': 'broadcast', '/c': 'topics', '/d': 'realtime', '/e': 'rooms' };
const LISTENERS = Object.entries(PREFIXES).map(([prefix, dialect]) => ({ prefix, dialects: [dialect] }));
const QUIET = { notification_interval: '0s' };

test('a prefix moves every route of its listener', async (t) => {
  const server = await Fanfare.start(t, { listener: LISTENERS, broadcast: QUIET });
  for (const [listener, [prefix, dialect]] of Object.entries(PREFIXES).entries()) {
    const path = PLACES[dialect].path;
    await GREETINGS[dialect](server.ws(path, { listener }));
    for (const route of ['/livez', '/readyz', '/health', '/metrics', '/metrics/prometheus']) {
      assert.equal((await fetch(server.http(route, listener))).status, 200, prefix + route);
    }
    const bare = `127.0.0.1:${server.addresses[listener].port}`;
    for (const outside of [path, `${prefix}x${path}`, `/z${path}`, `/x${prefix}${path}`]) {
      assert.equal((await dialled(`ws://${bare}${outside}`).refused).status, 404, outside);
    }
    assert.equal((await fetch(`http://${bare}/health`)).status, 404);
  }
});

// A minimal ingress: it reads the first part of the path, and forwards everything unchanged.
async function ingress(t, routes) {
  const target = (url) => routes[`/${url.split(/[/?]/)[1]}`];
  const proxy = createServer((question, answer) => {
    const port = target(question.url);
    if (!port) return answer.writeHead(404).end();
    const { url: path, method, headers } = question;
    const passed = request({ host: '127.0.0.1', port, path, method, headers }, (got) => {
      answer.writeHead(got.statusCode, got.headers);
      got.pipe(answer);
    });
    passed.on('error', () => answer.destroy());
    return question.pipe(passed);
  });
  proxy.on('upgrade', (question, socket, head) => {
    const port = target(question.url);
    if (!port) return socket.destroy();
    const upstream = connect(port, '127.0.0.1', () => {
      const { rawHeaders, url } = question;
      const lines = Array.from({ length: rawHeaders.length / 2 }, (_, i) => `${rawHeaders[2 * i]}: ${rawHeaders[2 * i + 1]}`);
      upstream.write(`GET ${url} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
      upstream.write(head);
      socket.pipe(upstream).pipe(socket);
    });
    for (const end of [socket, upstream]) end.on('error', () => (socket.destroy(), upstream.destroy()));
  });
  proxy.listen(0, '127.0.0.1');
  t.after(() => (proxy.close(), proxy.closeAllConnections()));
  await once(proxy, 'listening');
  return `127.0.0.1:${proxy.address().port}`;
}

test('one ingress serves pages of all five dialects below its paths', async (t) => {
  const server = await Fanfare.start(t, { listener: LISTENERS, broadcast: QUIET });
  const host = await ingress(t, Object.fromEntries(Object.keys(PREFIXES).map((prefix, i) => [prefix, server.addresses[i].port])));
  const mine = token('ann');
  const tabs = {};
  for (const [prefix, dialect] of Object.entries(PREFIXES)) {
    tabs[dialect] = await browser.tab(t, `ws://${host}${prefix}${PLACES[dialect].path}?token=${mine}`);
    assert.equal(tabs[dialect].opened, true, dialect);
  }
  await tabs.topics.ask({ type: 'auth', token: mine });
  await tabs.topics.ask({ type: 'subscribe', topic: 'notifications' });
  await tabs.realtime.nextOf('Status');
  await tabs.realtime.ask({ type: 'Subscribe', data: { topics: ['notifications'] } });
  await tabs.rooms.nextOf('connected');
  await tabs.broadcast.nextOf('welcome');

  const { status, body } = await tabs.broadcast.fetch(`http://${host}/b/notify`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ message: 'to all', type: 'alert' }),
  });
  assert.deepEqual([status, body.recipients], [200, 5], JSON.stringify(body));
  const texts = {
    notify: ({ payload }) => payload.message,
    broadcast: ({ data }) => data.message,
    topics: ({ data }) => data.message,
    realtime: ({ data }) => data.payload.message,
    rooms: ({ data }) => data.message,
  };
  for (const [dialect, text] of Object.entries(texts)) assert.equal(text(await tabs[dialect].nextJson()), 'to all', dialect);
  for (const [prefix, dialect] of Object.entries(PREFIXES)) {
    await GREETINGS[dialect](`ws://${host}${prefix}${PLACES[dialect].path}`);
  }
  assert.equal((await fetch(`http://${host}/e/health`)).status, 200);
});
