// The page at /docs in a real browser: it shows the routes of its listener, sends requests, uses each dialect, and loads nothing from
// elsewhere.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startBrowser } from './browser.js';
import { Fanfare, token } from './fanfare.js';

const browser = startBrowser();
const KEY = 'a-key-for-backends-0123456789';
const HOSTILE = '<img src=x onerror=window.harmed=1>';

// Runs in the page: waits until it has content.
const shown = async () => {
  while (!document.querySelector('main .entry')) await new Promise((done) => setTimeout(done, 20));
  const origins = performance.getEntriesByType('resource').map(({ name }) => new URL(name).origin);
  const texts = (selector) => [...document.querySelectorAll(selector)].map((each) => each.innerText.replaceAll(/\s+/g, ' '));
  return {
    titles: texts('.entry > summary'), contents: texts('nav .contents a'), text: document.body.innerText,
    elsewhere: origins.filter((origin) => origin !== location.origin),
  };
};

// Runs in the page: sets the value of a field, as typing does.
const fill = ([selector, value]) => {
  const field = document.querySelector(selector);
  const { set } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), 'value');
  set.call(field, value);
  field.dispatchEvent(new Event('input', { bubbles: true }));
  field.dispatchEvent(new Event('change', { bubbles: true }));
};

// Runs in the page: sends a request by its form, and returns the answer.
const send = async (id) => {
  const entry = document.getElementById(id);
  entry.querySelector('form').requestSubmit();
  while (!entry.querySelector('.answer pre')) await new Promise((done) => setTimeout(done, 20));
  // Read from the document: a folded entry shows no text.
  return { status: Number.parseInt(entry.querySelector('.answer p').textContent, 10), text: entry.querySelector('.answer pre').textContent };
};

const press = (text) => [...document.querySelectorAll('#console button')].find((button) => button.textContent === text).click();
const shownFrame = async (wanted) => {
  const log = document.querySelector('#console .lines');
  while (!log.innerText.includes(wanted)) await new Promise((done) => setTimeout(done, 20));
  return log.innerText;
};

for (const prefix of ['', '/a']) {
  test(`the page shows and calls each route, mounted at "${prefix}"`, async (t) => {
    const dialects = ['notify', 'realtime', 'topics', 'broadcast', 'rooms'];
    const listener = [{ dialects: ['notify', 'realtime'], ...(prefix && { prefix }) }, { dialects: ['rooms'] }];
    const server = await Fanfare.start(t, { listener, api: { keys: [KEY] } });
    const tab = await browser.tab(t, undefined, { from: server.http('/docs') });
    const { titles, contents, text, elsewhere } = await tab.evaluate(shown);
    assert.deepEqual(elsewhere, []);
    for (const title of ['/api/v1/events', '/health', '/sessions', '/info', 'DirectMessage']) {
      assert.ok(titles.some((each) => each.includes(title)), title);
      if (title.startsWith('/')) assert.ok(contents.some((each) => each.includes(title)), title);
    }
    // Routes that only other listeners serve are not listed.
    for (const title of ['join_room', '/notify', '/api/v1/ws/connect']) assert.ok(!titles.some((each) => each.includes(title)), title);
    assert.ok(dialects.slice(2).every((name) => !contents.includes(`Dialect ${name}`)), contents.join());
    assert.ok(/Fanfare\s+\d+\.\d+/.test(text), 'its version');
    await tab.evaluate(fill, ['#key', KEY]);
    await tab.evaluate(fill, ['#publishEvents textarea', JSON.stringify({ to: { user: 'ann' }, data: HOSTILE })]);
    const sample = await tab.evaluate(() => document.querySelector('#publishEvents .sample').textContent);
    assert.ok(sample.startsWith('curl -X POST') && sample.includes(`${prefix}/api/v1/events`) && sample.includes('YOUR_KEY'), sample);
    assert.ok(sample.includes(HOSTILE) && !sample.includes(KEY), sample);
    assert.equal((await tab.evaluate(send, 'publishEvents')).status, 200);
    // The examples make each request work unchanged, and an endless answer is shown as it arrives.
    const explain = await tab.evaluate(() => document.querySelector('#explain .sample').textContent);
    assert.ok(explain.includes('/api/v1/explain?channel=board.kitchen&user=mia'), explain);
    for (const id of ['explain', 'history', 'presence', 'listMembers']) assert.equal((await tab.evaluate(send, id)).status, 200, id);
    const tail = await tab.evaluate(send, 'tail');
    assert.ok(tail.status === 200 && tail.text.includes('"open"'), tail.text);
    await tab.evaluate(() => [...document.querySelectorAll('#tail button')].find((button) => button.textContent === 'Stop').click());
    await tab.evaluate(fill, ['nav input[type=search]', 'server state']);
    assert.deepEqual((await tab.evaluate(shown)).titles.map((each) => each.split(' ')[1]), ['/health']);
    const health = await tab.evaluate(send, 'health');
    assert.equal(JSON.parse(health.text).status, 'healthy');
    assert.equal(await tab.evaluate(() => window.harmed), undefined);
  });
}

for (const dialect of ['notify', 'realtime', 'broadcast', 'topics', 'rooms']) {
  test(`the console speaks ${dialect}`, async (t) => {
    // notify and realtime share a path.
    const dialects = ['notify', 'realtime'].includes(dialect) ? ['notify', 'realtime'] : [dialect];
    const server = await Fanfare.start(t, { listener: [{ dialects }] });
    const tab = await browser.tab(t, undefined, { from: server.http('/docs') });
    await tab.evaluate(shown);
    const pasted = token('ann');
    await tab.evaluate(fill, ['#console select', dialect]);
    await tab.evaluate(fill, ['#console input[name=token]', pasted]);
    await tab.evaluate(press, 'Connect');
    await tab.evaluate(shownFrame, 'Open');
    if (dialect === 'topics') {
      await tab.evaluate(press, 'auth');
      await tab.evaluate(press, 'Send');
      await tab.evaluate(shownFrame, 'auth_success');
    }
    if (dialect === 'notify') {
      const body = JSON.stringify({ to: { user: 'ann' }, data: HOSTILE });
      await fetch(server.http('/api/v1/events'), { method: 'POST', body });
      await tab.evaluate(shownFrame, HOSTILE);
    } else {
      await tab.evaluate(press, dialect === 'realtime' ? 'Ping' : 'ping');
      await tab.evaluate(press, 'Send');
      await tab.evaluate(shownFrame, dialect === 'realtime' ? 'Pong' : 'pong');
    }
    await tab.evaluate(press, 'Close');
    const log = await tab.evaluate(shownFrame, 'Closed');
    assert.ok(!log.includes(pasted), 'the token is not shown');
    assert.equal(await tab.evaluate(() => window.harmed), undefined);
  });
}
