// The rooms dialect in a browser: members, messages, and the closes that a page can read.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBrowser } from './browser.js';
import { Fanfare, token, waitUntil } from './fanfare.js';

const browser = startBrowser();
const PATH = '/api/v1/ws/connect';
const ROOM = 'channel:456';

const start = (t, tables = {}) => Fanfare.start(t, { listener: [{ dialects: ['rooms'] }], ...tables });
const ALICE = { user: '12345', claims: { username: 'alice' } };
const BOB = { user: '007', claims: { username: 'bob' } };

// A page that has received its welcome. `who` may be a function, which is called once the page is open.
async function connected(t, server, who) {
  const tab = await browser.tab(t);
  await tab.connect(server.ws(PATH, typeof who === 'function' ? who() : who));
  assert.equal((await tab.nextJson()).type, 'connected');
  return tab;
}

// A page that is in the room and has received its own announcement, if there was one.
async function joined(t, server, who, { first = true } = {}) {
  const tab = await connected(t, server, who);
  const { timestamp, ...answer } = await tab.ask({ type: 'join_room', room: ROOM });
  assert.deepEqual(answer, { type: 'joined_room', room: ROOM, data: { message: `Joined room ${ROOM}` } });
  if (first) assert.equal((await tab.nextJson()).type, 'user_joined');
  return tab;
}

const person = ({ type, data }) => [type, data.username];
// The answer to a ping follows everything that was queued before.
const nothingCame = async (tab) => assert.equal((await tab.ask({ type: 'ping' })).type, 'pong');
const say = (content, metadata) => ({ type: 'send_message', room: ROOM, data: { content, metadata } });

test('the welcome names the user, with a number where the id is one', async (t) => {
  const server = await start(t);
  for (const [who, user_id, username] of [[ALICE, 12345, 'alice'], [BOB, '007', 'bob'], [{ user: 'eve' }, 'eve', 'eve']]) {
    const tab = await browser.tab(t, server.ws(PATH, who));
    const { timestamp, ...welcome } = await tab.nextJson();
    assert.deepEqual(welcome, { type: 'connected', data: { message: 'Connected successfully', user_id, username } });
    assert.match(timestamp, /T\d\d:\d\d:\d\d\.\d{6}Z$/);
    const pong = await tab.ask({ type: 'ping' });
    assert.equal(pong.type, 'pong');
    assert.match(pong.data.timestamp, /T\d\d:\d\d:\d\d\.\d{3}Z$/);
  }
});

test('two users join and exchange messages', async (t) => {
  const server = await start(t);
  const alice = await joined(t, server, ALICE);
  const bob = await joined(t, server, BOB);
  const { timestamp, ...entry } = await alice.nextJson();
  assert.deepEqual(entry, { type: 'user_joined', room: ROOM, data: { username: 'bob', user_id: '007' }, sender: 'bob' });

  await bob.send(say('Grüße 🎺', { reply_to: 789 }));
  for (const tab of [alice, bob]) {
    const { timestamp, ...message } = await tab.nextJson();
    const data = { content: 'Grüße 🎺', username: 'bob', user_id: '007', metadata: { reply_to: 789 } };
    assert.deepEqual(message, { type: 'message', room: ROOM, data, sender: 'bob' });
  }
  assert.equal((await bob.ask({ type: 'leave_room', room: ROOM })).type, 'left_room');
  assert.deepEqual(person(await alice.nextJson()), ['user_left', 'bob']);
  await alice.send(say('alone'));
  assert.equal((await alice.nextJson()).data.content, 'alone');
  await nothingCame(bob);
});

test('a user enters with the first tab and leaves with the last', async (t) => {
  const server = await start(t);
  const bob = await joined(t, server, BOB);
  const first = await joined(t, server, ALICE);
  assert.deepEqual(person(await bob.nextJson()), ['user_joined', 'alice']);
  const second = await joined(t, server, ALICE, { first: false });
  await nothingCame(second);
  await nothingCame(bob);

  await first.close();
  await waitUntil(async () => (await server.connections()) === 2, 'the first tab gone');
  await nothingCame(bob);
  await second.evaluate(() => window.socket.close());
  assert.deepEqual(person(await bob.nextJson()), ['user_left', 'alice']);
  await nothingCame(bob);
});

test('errors are answered, and the connection stays open', async (t) => {
  const server = await start(t);
  const tab = await connected(t, server, ALICE);
  const cases = [
    [{ type: 'join_room' }, 'Room ID required'],
    [{ type: 'join_room', room: 'lobby' }, 'Invalid room identifier'],
    [{ type: 'dance' }, 'Unknown message type: dance'],
    [{ type: 'send_message', room: ROOM, data: {} }, 'Content required'],
    [say('from outside'), undefined],
    [{ type: 'leave_room', room: ROOM }, undefined],
    ['{', undefined],
  ];
  for (const [frame, words] of cases) {
    const { type, data } = await tab.ask(frame);
    assert.equal(type, 'error', JSON.stringify(frame));
    if (words) assert.equal(data.error, words);
  }
  await nothingCame(tab);
});

test('a page without a valid token reads 4401', async (t) => {
  const server = await start(t);
  const expired = token('12345', { ttl: -10 });
  for (const query of [{}, { token: '' }, { token: 'not.a.token' }, { token: expired }]) {
    const tab = await browser.tab(t, server.ws(PATH, { query }));
    assert.equal(tab.opened, true, JSON.stringify(query));
    assert.deepEqual(await tab.closed(), { code: 4401, reason: 'Authentication Failed', wasClean: true });
  }
});

test('an expired token closes with 4401, and the room is notified', async (t) => {
  const server = await start(t);
  const bob = await joined(t, server, BOB);
  const alice = await joined(t, server, () => ({ ...ALICE, claims: { username: 'alice', exp: Math.floor(Date.now() / 1000) + 4 } }));
  assert.deepEqual(person(await bob.nextJson()), ['user_joined', 'alice']);
  assert.equal((await alice.closed()).code, 4401);
  assert.deepEqual(person(await bob.nextJson()), ['user_left', 'alice']);
});

test('a room without access is an error event and 4403', async (t) => {
  const server = await start(t);
  const limited = { ...ALICE, claims: { username: 'alice', rooms: ['project:*'] } };
  for (const [who, room] of [[limited, ROOM], [ALICE, 'user:12345'], [ALICE, 'user:1']]) {
    const tab = await connected(t, server, who);
    assert.equal((await tab.ask({ type: 'join_room', room })).type, 'error', room);
    assert.deepEqual(await tab.closed(), { code: 4403, reason: 'Forbidden', wasClean: true });
  }
  const tab = await connected(t, server, limited);
  assert.equal((await tab.ask({ type: 'join_room', room: 'project:1' })).type, 'joined_room');
});

test('a closed room admits no user', async (t) => {
  const server = await start(t, { rooms: { default_access: 'nobody' } });
  const tab = await connected(t, server, ALICE);
  await tab.send({ type: 'join_room', room: ROOM });
  assert.equal((await tab.closed()).code, 4403);
});

test('the sixth connection of a user is closed with 4429', async (t) => {
  const server = await start(t);
  for (let count = 0; count < 5; count++) {
    const client = server.connect(server.ws(PATH, ALICE));
    assert.equal((await client.nextJson()).type, 'connected');
  }
  const sixth = await browser.tab(t, server.ws(PATH, ALICE));
  assert.equal(sixth.opened, true);
  assert.deepEqual(await sixth.closed(), { code: 4429, reason: 'Too Many Connections', wasClean: true });
  await connected(t, server, BOB);
});

test('a client that asks for the members gets them with the answer', async (t) => {
  const server = await start(t);
  const join = async (who) => {
    const client = server.connect(server.ws(PATH, who));
    assert.equal((await client.nextJson()).type, 'connected');
    client.send({ type: 'join_room', room: ROOM, members: true });
    return client.nextJson();
  };
  const alice = { user_id: 12345, username: 'alice' };
  assert.deepEqual((await join(ALICE)).data, { message: `Joined room ${ROOM}`, members: [alice] });
  assert.deepEqual((await join(BOB)).data.members, [{ user_id: '007', username: 'bob' }, alice]);
});
