// The page at /docs in a real browser: it shows what the documents hold, sends requests, and loads nothing from elsewhere.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBrowser } from './browser.js';
import { Fanfare } from './fanfare.js';

const browser = startBrowser();
const KEY = 'a-key-for-backends-0123456789';

// Runs in the page: waits until there is something to see.
const shown = async () => {
  while (!document.querySelector('main details')) await new Promise((done) => setTimeout(done, 20));
  const origins = performance.getEntriesByType('resource').map(({ name }) => new URL(name).origin);
  const titles = [...document.querySelectorAll('main > details > summary')].map((each) => each.innerText);
  return { titles, elsewhere: origins.filter((origin) => origin !== location.origin) };
};

// Runs in the page: fills in a form and returns what came.
const send = async ([path, key, body]) => {
  document.getElementById('key').value = key;
  const has = (each) => each.querySelector('summary code')?.textContent === path;
  const form = [...document.querySelectorAll('main > details')].find(has);
  if (body) form.querySelector('textarea').value = body;
  form.querySelector('button').click();
  while (!form.querySelector('[aria-live] pre')) await new Promise((done) => setTimeout(done, 20));
  const [status, text] = form.querySelectorAll('[aria-live] > *');
  return { status: Number.parseInt(status.textContent, 10), text: text.textContent };
};

for (const prefix of ['', '/a']) {
  test(`the page shows and tries out what there is, mounted at "${prefix}"`, async (t) => {
    const listener = [{ dialects: ['notify'], ...(prefix && { prefix }) }];
    const server = await Fanfare.start(t, { listener, api: { keys: [KEY] } });
    const tab = await browser.tab(t, undefined, { from: server.http('/docs') });
    const { titles, elsewhere } = await tab.evaluate(shown);
    assert.deepEqual(elsewhere, []);
    for (const title of ['/api/v1/events', '/health', '/sessions', 'auth_success', 'DirectMessage', 'join_room']) {
      assert.ok(titles.some((each) => each.includes(title)), title);
    }
    const event = JSON.stringify({ to: { user: 'ann' }, data: '<img src=x onerror=alert(1)>' });
    assert.equal((await tab.evaluate(send, ['/api/v1/events', KEY, event])).status, 200);
    const health = await tab.evaluate(send, ['/health', '', null]);
    assert.equal(JSON.parse(health.text).status, 'healthy');
  });
}
