// A page in a real browser with the browser's WebSocket: the frames that it receives, and the close that it can read.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBrowser } from './browser.js';
import { Fanfare, message } from './fanfare.js';

const browser = startBrowser();

test('a page that is open twice sees its messages in both', async (t) => {
  const server = await Fanfare.start(t, { notify: { compression: true, compression_threshold: 0 } });
  const url = server.ws('/ws', { user: 'ann' });
  const tabs = [await browser.tab(t, url), await browser.tab(t, url)];
  assert.deepEqual(tabs.map((tab) => tab.opened), [true, true]);
  assert.equal(await tabs[0].evaluate(() => window.socket.extensions.split(';')[0]), 'permessage-deflate');
  const payload = { title: 'Grüße 🎺', text: 'x'.repeat(5000) };
  assert.equal(await server.redis().publish('user_noti:ann', message(payload)), 2);
  for (const tab of tabs) {
    assert.deepEqual((await tab.nextJson()).payload, payload);
  }
  await tabs[0].evaluate(() => window.socket.close(1000, 'done'));
  assert.deepEqual(await tabs[0].closed(), { code: 1000, reason: '', wasClean: true });
  assert.equal(await server.redis().publish('user_noti:ann', message({})), 1);
});

test('a page reads the reason of its close', async (t) => {
  const server = await Fanfare.start(t);
  const tab = await browser.tab(t);
  const exp = Math.floor(Date.now() / 1000) + 4;
  await tab.connect(server.ws('/ws', { user: 'ann', claims: { exp } }));
  assert.deepEqual(await tab.closed(), { code: 1008, reason: 'token expired', wasClean: true });
});
