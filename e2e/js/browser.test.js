// A page in a real browser, with the WebSocket that browsers have: what it receives, and what it can see of an end.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { Fanfare, message, token } from './fanfare.js';

const BROWSERS = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
// A browser that asks its maker for updates would wait for a network that tests do not need.
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];

let browser, pages, origin;

before(async () => {
  const executablePath = BROWSERS.find((path) => path && existsSync(path));
  assert.ok(executablePath, 'no Chromium: install the package chromium, or set CHROMIUM');
  browser = await chromium.launch({ executablePath, args: FLAGS });
  pages = createServer((_, answer) => answer.setHeader('content-type', 'text/html').end('<!doctype html><title>page</title>'));
  pages.listen(0, '127.0.0.1');
  await once(pages, 'listening');
  origin = `http://127.0.0.1:${pages.address().port}`;
});

after(async () => {
  await browser?.close();
  pages?.close();
});

// Opens a page that connects to `url`; `received` and `closed` say what it saw.
async function open(t, url) {
  const page = await browser.newPage();
  t.after(() => page.close());
  await page.goto(origin);
  await page.evaluate((url) => {
    window.received = [];
    window.socket = new WebSocket(url);
    window.opened = new Promise((resolve) => {
      window.socket.onopen = () => resolve(true);
      window.socket.onerror = () => resolve(false);
    });
    window.ended = new Promise((resolve) => {
      window.socket.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, wasClean });
    });
    window.socket.onmessage = ({ data }) => window.received.push(data);
  }, url);
  return {
    opened: await page.evaluate(() => window.opened),
    evaluate: (...call) => page.evaluate(...call),
    closed: () => page.evaluate(() => window.ended),
    received: async (count) => {
      await page.waitForFunction((count) => window.received.length >= count, count);
      return page.evaluate(() => window.received);
    },
  };
}

test('a page that is open twice sees its messages in both', async (t) => {
  const server = await Fanfare.start(t, { notify: { compression: true, compression_threshold: 0 } });
  const url = `ws://127.0.0.1:${server.port}/ws?token=${token('ann')}`;
  const tabs = [await open(t, url), await open(t, url)];
  assert.deepEqual(tabs.map((tab) => tab.opened), [true, true]);
  assert.equal(await tabs[0].evaluate(() => window.socket.extensions.split(';')[0]), 'permessage-deflate');
  const payload = { title: 'Grüße 🎺', text: 'x'.repeat(5000) };
  assert.equal(await server.redis().publish('user_noti:ann', message(payload)), 2);
  for (const tab of tabs) {
    const [text] = await tab.received(1);
    assert.deepEqual(JSON.parse(text).payload, payload);
  }
  await tabs[0].evaluate(() => window.socket.close(1000, 'done'));
  assert.deepEqual(await tabs[0].closed(), { code: 1000, reason: '', wasClean: true });
  assert.equal(await server.redis().publish('user_noti:ann', message({})), 1);
});

test('a page sees why it was closed', async (t) => {
  const server = await Fanfare.start(t);
  const exp = Math.floor(Date.now() / 1000) + 2;
  const tab = await open(t, `ws://127.0.0.1:${server.port}/ws?token=${token('ann', { exp })}`);
  assert.deepEqual(await tab.closed(), { code: 1008, reason: 'token expired', wasClean: true });
});

test('only pages of an allowed origin connect', async (t) => {
  for (const [allowed, opened] of [[[origin], true], [['https://app.example.com'], false]]) {
    const server = await Fanfare.start(t, { auth: { allowed_origins: allowed } });
    const tab = await open(t, `ws://127.0.0.1:${server.port}/ws?token=${token('ann')}`);
    assert.equal(tab.opened, opened, `${allowed}`);
    const read = await tab.evaluate((url) => fetch(url).then((answer) => answer.status, () => 'blocked'),
      `http://127.0.0.1:${server.port}/health`);
    assert.equal(read, opened ? 200 : 'blocked');
  }
});
