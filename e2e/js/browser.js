// A real browser for the tests of one file, with pages that connect as an application's page does.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { after, before } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium } from 'playwright-core';

const BROWSERS = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
// A browser that checks for updates would wait for a network that tests do not need. The names of
// example.test are this machine, so that a page can come from another site.
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP *.example.test 127.0.0.1'];
const ANSWER_TIMEOUT = 30_000;

// Starts the browser, and a site that serves an empty page, before the tests of a file, and ends them after.
export function startBrowser() {
  const started = { tab, origin: undefined, foreign: undefined };
  // Pages of finished tests: opening a page takes far longer than loading it again.
  const idle = [];
  let browser, site;

  before(async () => {
    const executablePath = BROWSERS.find((path) => path && existsSync(path));
    assert.ok(executablePath, 'no Chromium: install the package chromium, or set CHROMIUM');
    browser = await chromium.launch({ executablePath, args: FLAGS });
    site = createServer((_, answer) => answer.setHeader('content-type', 'text/html').end('<!doctype html><title>page</title>'));
    site.listen(0, '127.0.0.1');
    await once(site, 'listening');
    started.origin = `http://127.0.0.1:${site.address().port}`;
    started.foreign = `http://other.example.test:${site.address().port}`;
  });

  after(async () => {
    await browser?.close();
    site?.close();
  });

  // Opens a page. If `url` is given, the page connects to it, and this waits until the connection is open or refused.
  async function tab(t, url, { protocols = [], from = started.origin, size = { width: 1280, height: 720 } } = {}) {
    const page = idle.pop() ?? await browser.newPage();
    t.after(async () => {
      if (page.isClosed()) return;
      await page.goto('about:blank');
      idle.push(page);
    });
    await page.setViewportSize(size);
    await page.goto(from);
    const opened = new Tab(page);
    if (url) await opened.connect(url, protocols);
    return opened;
  }

  return started;
}

// Runs in the page: stores every frame, and lets the test wait for the frame with a number.
function connectHere([url, protocols]) {
  const waiting = [];
  const state = { received: [], socket: new WebSocket(url, protocols) };
  state.frame = (number) => new Promise((resolve) => {
    if (number < state.received.length) resolve(state.received[number]);
    else waiting[number] = resolve;
  });
  state.ended = new Promise((resolve) => {
    state.socket.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, wasClean });
  });
  state.socket.onmessage = ({ data }) => {
    waiting[state.received.length]?.(data);
    state.received.push(data);
  };
  Object.assign(window, state);
  return new Promise((resolve) => {
    state.socket.onopen = () => resolve(true);
    state.socket.onerror = () => resolve(false);
  });
}

// A page. Its received frames are read in order, each once.
export class Tab {
  #page;
  #taken = 0;

  constructor(page) {
    this.#page = page;
  }

  async connect(url, protocols = []) {
    this.#taken = 0;
    this.opened = await this.evaluate(connectHere, [url, protocols]);
  }

  async evaluate(...call) {
    const late = sleep(ANSWER_TIMEOUT, undefined, { ref: false }).then(() => {
      throw new Error(`the page did not answer within ${ANSWER_TIMEOUT} ms: ${call[0]}`);
    });
    return Promise.race([this.#page.evaluate(...call), late]);
  }

  send(message) {
    return this.evaluate((text) => window.socket.send(text), typeof message === 'string' ? message : JSON.stringify(message));
  }

  // The next frame, unchanged.
  async next() {
    return this.evaluate((number) => window.frame(number), this.#taken++);
  }

  async nextJson() {
    return JSON.parse(await this.next());
  }

  // The next frame of this type; those before it are skipped.
  async nextOf(type) {
    for (;;) {
      const frame = await this.nextJson();
      if (frame.type === type) return frame;
    }
  }

  // Sends a message and returns the next frame, which proves that no other frame arrived before.
  async ask(message) {
    await this.send(message);
    return this.nextJson();
  }

  // The end of the connection: {code, reason, wasClean}.
  closed() {
    return this.evaluate(() => window.ended);
  }

  // Calls `fetch` in the page: {status, body}, or 'blocked' if the browser hid the answer from the page.
  fetch(url, options = {}) {
    return this.evaluate(async ([url, options]) => {
      try {
        const answer = await fetch(url, options);
        const text = await answer.text();
        const isJson = answer.headers.get('content-type')?.includes('json');
        return { status: answer.status, body: isJson ? JSON.parse(text) : text };
      } catch {
        return 'blocked';
      }
    }, [url, options]);
  }

  close() {
    return this.#page.close();
  }
}
