// One publisher of the Redis protocol, and a user's pages in every dialect.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBrowser } from './browser.js';
import { Fanfare, message, token } from './fanfare.js';

const browser = startBrowser();
const LISTENERS = ['notify', 'broadcast', 'topics', 'realtime', 'rooms'].map((dialect) => ({ dialects: [dialect] }));
const SENT = { title: 'New order', items: [1, 2], note: 'Grüße 🎺' };

// How a page subscribes to the events for `user`, and the frame that it then receives.
const PAGES = {
  notify: {
    open: (server, user) => server.ws('/ws', { user, listener: 0 }),
    seen: ({ type, payload }) => ({ type, data: payload }),
  },
  broadcast: {
    open: (server, user) => server.ws('/ws', { user, listener: 1 }),
    ready: async (tab) => assert.equal((await tab.nextJson()).type, 'welcome'),
    seen: ({ id, type, data, sender }) => (assert.ok(id && sender !== undefined), { type, data }),
  },
  topics: {
    open: (server) => server.ws('/ws', { listener: 2 }),
    ready: async (tab, user) => {
      assert.equal((await tab.ask({ type: 'auth', token: token(user) })).type, 'auth_success');
      assert.equal((await tab.ask({ type: 'subscribe', topic: `notifications.user.${user}` })).type, 'subscribed');
    },
    seen: ({ type, topic, eventType, data }) => (assert.deepEqual([type, topic], ['message', 'notifications.user.ann']), { type: eventType, data }),
  },
  realtime: {
    open: (server, user) => server.ws('/ws', { user, listener: 3 }),
    ready: async (tab) => assert.equal((await tab.nextJson()).type, 'Status'),
    // This dialect has one type for all events to a user.
    seen: ({ type, data }) => (assert.deepEqual([type, data.from_user], ['DirectMessage', null]), { type: 'order', data: data.payload }),
  },
  rooms: {
    open: (server, user) => server.ws('/api/v1/ws/connect', { user, listener: 4 }),
    ready: async (tab) => assert.equal((await tab.nextJson()).type, 'connected'),
    seen: ({ type, data }) => ({ type, data }),
  },
};

const start = (t) => Fanfare.start(t, { listener: LISTENERS, broadcast: { notification_interval: '0s' } });

async function page(t, server, dialect, user) {
  const { open, ready } = PAGES[dialect];
  const tab = await browser.tab(t, open(server, user));
  assert.equal(tab.opened, true, dialect);
  await ready?.(tab, user);
  return tab;
}

for (const dialect of Object.keys(PAGES)) {
  test(`an event that ioredis publishes for a user reaches both tabs: ${dialect}`, async (t) => {
    const server = await start(t);
    const tabs = [await page(t, server, dialect, 'ann'), await page(t, server, dialect, 'ann')];
    await page(t, server, dialect, 'bob');
    assert.equal(await server.redis().publish('user_noti:ann', message(SENT, 'order')), 2);
    for (const tab of tabs) assert.deepEqual(PAGES[dialect].seen(await tab.nextJson()), { type: 'order', data: SENT });
  });
}

test('one publish reaches the pages of all dialects', async (t) => {
  const server = await start(t);
  const tabs = [];
  for (const dialect of Object.keys(PAGES)) tabs.push([dialect, await page(t, server, dialect, 'ann')]);
  const redis = server.redis();
  for (let round = 0; round < 3; round++) {
    const sent = { ...SENT, round };
    assert.equal(await redis.publish('user_noti:ann', message(sent, 'order')), 5);
    for (const [dialect, tab] of tabs) {
      assert.deepEqual(PAGES[dialect].seen(await tab.nextJson()), { type: 'order', data: sent }, dialect);
    }
  }
});

test('a name alone proves no user to the broadcast dialect', async (t) => {
  const server = await start(t);
  const tab = await browser.tab(t, server.ws('/ws', { listener: 1, query: { client_id: 'ann' } }));
  await tab.nextOf('welcome');
  assert.equal(await server.redis().publish('user_noti:ann', message(SENT)), 0);
  assert.equal((await tab.ask({ type: 'ping' })).type, 'pong');
});
