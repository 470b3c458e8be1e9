// The topics dialect in a browser: authentication by a frame, then publications and subscriptions with wildcards.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBrowser } from './browser.js';
import { Fanfare, token } from './fanfare.js';

const browser = startBrowser();

const start = (t, tables = {}) => Fanfare.start(t, { listener: [{ dialects: ['topics'] }], ...tables });
const open = (t, server) => browser.tab(t, server.ws());

// A page that has authenticated as `user`, and subscribed to these topics.
async function signedIn(t, server, user, ...topics) {
  const tab = await open(t, server);
  const { type, userId } = await tab.ask({ type: 'auth', token: token(user) });
  assert.deepEqual([type, userId], ['auth_success', user]);
  for (const topic of topics) {
    const { timestamp, ...answer } = await tab.ask({ type: 'subscribe', topic });
    assert.deepEqual(answer, { type: 'subscribed', topic });
  }
  return tab;
}

const publish = (topic, data, more = {}) => ({ type: 'message', topic, data, ...more });
// The answer to a ping follows everything that was queued before.
const nothingCame = async (tab) => assert.equal((await tab.ask({ type: 'ping' })).type, 'pong');

test('before the auth frame only ping works', async (t) => {
  const server = await start(t);
  const tab = await open(t, server);
  await nothingCame(tab);
  for (const frame of [{ type: 'subscribe', topic: 'a' }, { type: 'unsubscribe', topic: 'a' }, publish('a', {})]) {
    const { type, code } = await tab.ask(frame);
    assert.deepEqual({ type, code }, { type: 'error', code: 401 }, frame.type);
  }
  const { timestamp, ...refused } = await tab.ask({ type: 'auth', token: 'not.a.token' });
  assert.deepEqual(refused, { type: 'auth_error', message: 'Invalid token', code: 401 });
  assert.equal((await tab.ask({ type: 'auth', token: token('ann') })).type, 'auth_success');
});

test('a page that does not authenticate is closed', async (t) => {
  const server = await start(t, { topics: { auth_timeout: '200ms' } });
  const tab = await open(t, server);
  assert.equal((await tab.closed()).code, 1008);
});

test('two pages exchange messages on a topic', async (t) => {
  const server = await start(t);
  const ann = await signedIn(t, server, 'ann', 'chat.general');
  const bob = await signedIn(t, server, 'bob', 'chat.general');
  await ann.send(publish('chat.general', { content: 'Grüße 🎺' }, { metadata: { priority: 'normal', senderId: 'forged' } }));
  const frames = [await bob.nextJson(), await ann.nextJson()];
  for (const { timestamp, metadata, ...frame } of frames) {
    assert.deepEqual(frame, { type: 'message', topic: 'chat.general', eventType: 'message', data: { content: 'Grüße 🎺' } });
    assert.equal(metadata.priority, 'normal');
    assert.equal(metadata.senderId, 'ann');
    assert.ok(metadata.senderConnectionId);
    assert.match(timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  }
  await bob.send(publish('chat.general', 1, { eventType: 'greeting' }));
  assert.equal((await ann.nextJson()).eventType, 'greeting');
});

// The topics below that a pattern matches.
const TOPICS = ['feed', 'feed.user.1', 'feed.user.2', 'feed.user.1.replies', 'feed.channel.a'];
const PATTERNS = {
  'feed.user.1': [1],
  'feed.user.*': [1, 2],
  'feed.*.1': [1],
  'feed.**': [1, 2, 3, 4],
  'feed': [0],
  '*': [0],
  '**': [0, 1, 2, 3, 4],
  '*.user.**': [1, 2, 3],
};

test('wildcards match topics', async (t) => {
  const server = await start(t);
  const ann = await signedIn(t, server, 'ann');
  const bob = await signedIn(t, server, 'bob');
  for (const [pattern, shown] of Object.entries(PATTERNS)) {
    await ann.ask({ type: 'subscribe', topic: pattern });
    for (const topic of TOPICS) await bob.send(publish(topic, {}));
    await nothingCame(bob);
    for (const index of shown) assert.equal((await ann.nextJson()).topic, TOPICS[index], pattern);
    const { timestamp, ...answer } = await ann.ask({ type: 'unsubscribe', topic: pattern });
    assert.deepEqual(answer, { type: 'unsubscribed', topic: pattern });
  }
});

test('subscriptions that overlap show an event once', async (t) => {
  const server = await start(t);
  const ann = await signedIn(t, server, 'ann', 'feed.**', 'feed.user.*', 'feed.user.1', '**');
  await ann.send(publish('feed.user.1', 1));
  assert.equal((await ann.nextJson()).data, 1);
  await nothingCame(ann);
});

test('each topic of a list has its own reply, and an error in one does not affect the others', async (t) => {
  const server = await start(t);
  const ann = await signedIn(t, server, 'ann');
  const topics = ['a', 'b.**', 'notifications.user.bob', 'c..d', 'notifications.user.ann'];
  await ann.send({ type: 'subscribe', topics });
  const answers = [];
  for (const _ of topics) answers.push(await ann.nextJson());
  const told = answers.map(({ type, topic, code }) => (type === 'error' ? code : topic));
  assert.deepEqual(told, ['a', 'b.**', 403, 400, 'notifications.user.ann']);
  await ann.send(publish('b.1.2', 'arrived'));
  assert.equal((await ann.nextJson()).data, 'arrived');
});

test('forbidden requests are refused', async (t) => {
  const server = await start(t);
  const ann = await signedIn(t, server, 'ann');
  const cases = [
    [{ type: 'subscribe' }, 400, 'topic'],
    [{ type: 'subscribe', topic: 'a.**b' }, 400, 'topic'],
    [{ type: 'message', data: {} }, 400, 'topic'],
    [publish('chat.*', {}), 400, 'topic'],
    [publish('chat', {}, { eventType: 'user_joined' }), 400, 'eventType'],
    [publish('notifications.user.ann', {}), 403],
    ['{', 400],
  ];
  for (const [frame, code, field] of cases) {
    const error = await ann.ask(frame);
    assert.equal(error.type, 'error', JSON.stringify(frame));
    assert.equal(error.code, code, JSON.stringify(frame));
    if (field) assert.equal(error.details?.field, field, JSON.stringify(frame));
  }
});

test('after its token expires a page receives nothing until it authenticates again', async (t) => {
  const server = await start(t);
  const bob = await signedIn(t, server, 'bob');
  const ann = await open(t, server);
  const exp = Math.floor(Date.now() / 1000) + 4;
  await ann.ask({ type: 'auth', token: token('ann', { exp }) });
  await ann.ask({ type: 'subscribe', topic: 'chat' });

  const { timestamp, ...expired } = await ann.nextJson();
  assert.deepEqual(expired, { type: 'auth_error', message: 'Token expired', code: 401 });
  assert.equal((await ann.ask({ type: 'subscribe', topic: 'other' })).code, 401);
  await bob.send(publish('chat', 'lost'));
  await nothingCame(bob);
  assert.equal((await ann.ask({ type: 'auth', token: token('bob') })).type, 'auth_error');
  assert.equal((await ann.ask({ type: 'auth', token: token('ann') })).type, 'auth_success');
  await bob.send(publish('chat', 'arrived'));
  assert.equal((await ann.nextJson()).data, 'arrived');
});

test('a page that does not authenticate again is closed after the grace', async (t) => {
  const server = await start(t, { topics: { reauth_grace: '100ms' } });
  const ann = await open(t, server);
  await ann.ask({ type: 'auth', token: token('ann', { exp: Math.floor(Date.now() / 1000) + 4 }) });
  await ann.nextOf('auth_error');
  assert.deepEqual(await ann.closed(), { code: 1008, reason: 'token expired', wasClean: true });
});
