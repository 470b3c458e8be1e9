// The realtime dialect in a browser: subscriptions, broadcasts and direct messages, and the forms of a token.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBrowser } from './browser.js';
import { Fanfare, token } from './fanfare.js';

const browser = startBrowser();

const start = (t, { dialects = ['realtime'], ...tables } = {}) => Fanfare.start(t, { listener: [{ dialects }], ...tables });
const frame = (type, data) => ({ type, data });
const ping = (timestamp) => frame('Ping', { timestamp });

// A page of `user`, or an anonymous one, that has received its welcome.
async function welcomed(t, server, user) {
  const tab = await browser.tab(t, server.ws('/ws', { user }));
  assert.equal((await tab.nextJson()).data.status, 'connected');
  return tab;
}

async function subscribed(t, server, user, ...topics) {
  const tab = await welcomed(t, server, user);
  const { type, data } = await tab.ask(frame('Subscribe', { topics }));
  assert.deepEqual({ type, data }, { type: 'Status', data: { status: 'subscribed', details: { topics } } });
  return tab;
}

test('a page is welcomed with each form of its token', async (t) => {
  const server = await start(t);
  const protocol = `access_token.${token('ann')}`;
  const pages = [
    [await browser.tab(t, server.ws('/ws', { user: 'ann' })), ''],
    [await browser.tab(t, server.ws(), { protocols: [protocol] }), protocol],
    [await browser.tab(t, server.ws()), ''],
  ];
  for (const [tab, chosen] of pages) {
    assert.equal(tab.opened, true);
    assert.equal(await tab.evaluate(() => window.socket.protocol), chosen);
    const { type, data, timestamp } = await tab.nextJson();
    assert.deepEqual([type, data.status, data.details.protocol_version], ['Status', 'connected', '1.0']);
    assert.ok(data.details.connection_id);
    assert.ok(Math.abs(data.details.server_time - Date.now() / 1000) < 60, 'seconds');
    assert.ok(Number.isInteger(timestamp) && Math.abs(timestamp - Date.now()) < 60_000, 'milliseconds');
  }
});

test("a header may also have the token, and the user is the token's", async (t) => {
  const server = await start(t);
  const client = server.connect(server.ws(), { headers: { authorization: `Bearer ${token('ann')}` } });
  await client.nextJson();
  client.send(frame('DirectMessage', { target_user: 'ann', payload: 'to me' }));
  const frames = [await client.nextJson(), await client.nextJson()];
  const { data } = frames.find(({ type }) => type === 'DirectMessage');
  assert.deepEqual(data, { from_user: 'ann', payload: 'to me' });
});

test('a bad token is refused, and a page cannot read the reason', async (t) => {
  const server = await start(t);
  const bad = 'not.a.token';
  assert.equal((await browser.tab(t, server.ws('/ws', { query: { token: bad } }))).opened, false);
  assert.equal((await browser.tab(t, server.ws(), { protocols: [`access_token.${bad}`] })).opened, false);
  const ways = [
    [server.ws('/ws', { query: { token: bad } }), {}],
    [server.ws(), { protocols: [`access_token.${bad}`] }],
    [server.ws(), { headers: { authorization: `Bearer ${bad}` } }],
  ];
  for (const [url, options] of ways) {
    const { status, body } = await server.connect(url, options).refused;
    assert.deepEqual([status, JSON.parse(body).error.code], [401, 'INVALID_TOKEN'], url);
  }
});

test('a token or a role may be required', async (t) => {
  const server = await start(t, { realtime: { require_auth: true, required_roles: ['staff'] } });
  assert.equal((await server.connect(server.ws()).refused).status, 401);
  const plain = await server.connect(server.ws('/ws', { user: 'ann' })).refused;
  assert.deepEqual([plain.status, JSON.parse(plain.body).error.code], [403, 'FORBIDDEN']);
  const staff = server.ws('/ws', { user: 'ann', claims: { roles: ['staff', 'user'] } });
  assert.equal((await browser.tab(t, staff)).opened, true);
});

test('a broadcast reaches both tabs of a user, the sender included', async (t) => {
  const server = await start(t);
  const tabs = [await subscribed(t, server, 'ann', 'chat.*'), await subscribed(t, server, 'ann', 'chat.general', 'chat.**')];
  await tabs[0].send(frame('Broadcast', { topic: 'chat.general', payload: { text: 'Grüße 🎺' } }));
  const arrived = [await tabs[0].nextJson(), await tabs[0].nextJson()];
  assert.deepEqual(arrived.map(({ type }) => type).sort(), ['Ack', 'Broadcast']);
  const expected = { topic: 'chat.general', payload: { text: 'Grüße 🎺' } };
  assert.deepEqual(arrived.find(({ type }) => type === 'Broadcast').data, expected);
  assert.ok(arrived.find(({ type }) => type === 'Ack').data.message_id);
  const other = await tabs[1].nextJson();
  assert.deepEqual([other.type, other.data], ['Broadcast', expected]);
  assert.equal((await tabs[1].ask(ping(1))).type, 'Pong', 'once, though two subscriptions match');

  await tabs[1].ask(frame('Unsubscribe', { topics: ['chat.general', 'chat.**'] }));
  await tabs[0].send(frame('Broadcast', { topic: 'chat.general', payload: 2 }));
  await tabs[0].nextOf('Ack');
  assert.equal((await tabs[1].ask(ping(2))).type, 'Pong');
});

test('a direct message reaches every tab of its user and no other', async (t) => {
  const server = await start(t);
  const ann = await welcomed(t, server, 'ann');
  const bobs = [await welcomed(t, server, 'bob'), await welcomed(t, server, 'bob')];
  const carol = await subscribed(t, server, 'carol', '**');
  assert.equal((await ann.ask(frame('DirectMessage', { target_user: 'bob', payload: { n: 1 } }))).type, 'Ack');
  for (const bob of bobs) {
    const { type, data } = await bob.nextJson();
    assert.deepEqual([type, data], ['DirectMessage', { from_user: 'ann', payload: { n: 1 } }]);
  }
  assert.equal((await carol.ask(ping(1))).type, 'Pong');
  const { type, data } = await ann.ask(frame('DirectMessage', { target_user: 'nobody', payload: {} }));
  assert.deepEqual([type, data.code], ['Error', 404]);
});

test('a ping is answered with its own timestamp', async (t) => {
  const server = await start(t);
  const tab = await welcomed(t, server, 'ann');
  for (const timestamp of [0, 1737455400123, 1.5]) {
    const { type, data } = await tab.ask(ping(timestamp));
    assert.deepEqual([type, data], ['Pong', { timestamp }]);
  }
});

test('an anonymous page has public channels and no direct messages', async (t) => {
  const server = await start(t);
  const tab = await subscribed(t, server, undefined, 'news');
  await tab.send(frame('Broadcast', { topic: 'news', payload: 1 }));
  assert.equal((await tab.nextOf('Broadcast')).data.payload, 1);
  const refused = {
    'a direct message': [frame('DirectMessage', { target_user: 'ann', payload: 1 }), 401],
    'another user': [frame('Subscribe', { topics: ['news', 'user:ann'] }), 403],
    'a room': [frame('Subscribe', { topics: ['project:1'] }), 403],
    'stored messages': [frame('Broadcast', { topic: 'messages.user.1', payload: 1 }), 403],
  };
  for (const [what, [sent, code]] of Object.entries(refused)) {
    await tab.send(sent);
    assert.equal((await tab.nextOf('Error')).data.code, code, what);
  }
});

// The habits of single-page applications: handlers by type that outlive a connection, and repeated subscriptions.
function application([url, topic]) {
  const handlers = new Map();
  const arrived = (window.arrived = []);
  const app = (window.app = {
    connections: 0,
    on: (type, handler) => handlers.set(type, handler),
    off: (type) => handlers.delete(type),
    send: (type, data) => app.socket.send(JSON.stringify({ type, data })),
    connect() {
      app.socket = new WebSocket(url);
      app.socket.onopen = () => {
        app.connections += 1;
        app.send('Subscribe', { topics: [topic] });
      };
      app.socket.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        handlers.get(message.type)?.(message.data);
      };
      app.socket.onclose = () => app.leaving || setTimeout(app.connect, 10);
    },
  });
  for (const type of ['Status', 'Broadcast', 'DirectMessage']) {
    app.on(type, (data) => {
      arrived.push([type, data]);
      app.told?.();
    });
  }
  app.until = async (test) => {
    while (!test()) await new Promise((resolve) => (app.told = resolve));
  };
  app.connect();
  return app.until(() => arrived.some(([, data]) => data.status === 'subscribed'));
}

for (const dialects of [['realtime'], ['notify', 'realtime']]) {
  test(`an application with handlers by type works on a listener of ${dialects.join(' and ')}`, async (t) => {
    const server = await start(t, { dialects });
    const tab = await browser.tab(t);
    await tab.evaluate(application, [server.ws('/ws', { user: 'ann' }), 'chat']);
    // React's strict mode mounts a component twice, and connections come and go.
    await tab.evaluate(async () => {
      window.arrived.length = 0;
      window.app.socket.close();
      await window.app.until(() => window.arrived.some(([, data]) => data.status === 'subscribed'));
      window.app.send('Broadcast', { topic: 'chat', payload: 'all' });
      window.app.send('DirectMessage', { target_user: 'ann', payload: 'me' });
      await window.app.until(() => window.arrived.length === 4);
    });
    const { arrived, connections } = await tab.evaluate(() => ({ arrived: window.arrived, connections: window.app.connections }));
    assert.equal(connections, 2);
    assert.deepEqual(arrived.slice(0, 2).map(([type, data]) => [type, data.status]), [['Status', 'connected'], ['Status', 'subscribed']]);
    const rest = new Map(arrived.slice(2));
    assert.deepEqual(rest.get('Broadcast'), { topic: 'chat', payload: 'all' });
    assert.deepEqual(rest.get('DirectMessage'), { from_user: 'ann', payload: 'me' });
    const afterOff = await tab.evaluate(async () => {
      window.app.off('Broadcast');
      window.app.send('Broadcast', { topic: 'chat', payload: 'unheard' });
      window.app.send('DirectMessage', { target_user: 'ann', payload: 'last' });
      await window.app.until(() => window.arrived.length === 5);
      window.app.leaving = true;
      return window.arrived[4][1].payload;
    });
    assert.equal(afterOff, 'last');
  });
}

test('on the shared listener a page uses either dialect', async (t) => {
  const server = await start(t, { dialects: ['notify', 'realtime'] });
  const redis = server.redis();
  const publish = () => redis.publish('user_noti:ann', JSON.stringify({ type: 'note', payload: 1 }));
  const notify = await browser.tab(t, server.ws('/ws', { user: 'ann' }));
  const protocol = await browser.tab(t, server.ws(), { protocols: [`access_token.${token('ann')}`] });
  const query = await browser.tab(t, server.ws('/ws', { user: 'ann', query: { dialect: 'realtime' } }));
  for (const tab of [protocol, query]) assert.equal((await tab.nextJson()).data.status, 'connected');

  assert.equal(await publish(), 3);
  const { type, payload } = await notify.nextJson();
  assert.deepEqual({ type, payload }, { type: 'note', payload: 1 });
  for (const tab of [protocol, query]) assert.deepEqual((await tab.nextJson()).data, { from_user: null, payload: 1 });

  await notify.send('hello?');
  assert.equal((await notify.ask(frame('Subscribe', { topics: ['chat'] }))).data.status, 'connected');
  assert.equal((await notify.nextJson()).data.status, 'subscribed');
  assert.equal(await publish(), 3);
  assert.equal((await notify.nextJson()).type, 'DirectMessage');
});
