// Makes the pictures in docs/admin: each page, wide and on a phone, light and dark, of a server with invented users.
//
//     FANFARE_BIN=target/debug/fanfare node e2e/js/screenshots.js docs/admin [admin|docs]
//
// Check them before you commit them. `pngquant`, if it is installed, makes them small.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { Fanfare, sleep, token } from './fanfare.js';

const [, , folder, only] = process.argv;
if (!folder) throw new Error('say where the pictures go');
const KEY = 'a-key-for-operators-0123456789';
const USERS = ['mia', 'noah', 'emma', 'liam', 'zoe', 'max', 'lea', 'tom'];
const SIZES = { wide: { width: 1280, height: 900 }, phone: { width: 390, height: 844 } };
const ADMIN = {
  overview: '#/overview', connections: '#/connections', channels: '#/channels?channel=board.kitchen&user=mia', accounts: '#/accounts',
  trace: '', configuration: '#/configuration', problems: '#/problems',
};
const DOCS = { docs: '', 'docs-request': '#publishEvents', 'docs-console': '#console' };

const ends = [];
const server = await Fanfare.start({ after: (end) => ends.push(end) }, {
  listener: [{ dialects: ['notify', 'realtime'] }, { dialects: ['topics'] }, { dialects: ['rooms'] }],
  api: { keys: [KEY] },
  channel: [
    { pattern: 'board.staff', subscribe: 'role:staff', publish: 'role:editor' },
    { pattern: 'board.**', subscribe: 'authenticated', publish: 'role:editor', history: { size: 50, ttl: '1h' } },
  ],
});
const call = async (method, path, body) => {
  const headers = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json' };
  const answer = await fetch(server.http(path), { method, headers, body: JSON.stringify(body) });
  return answer.status === 204 ? null : answer.json();
};

async function life() {
  for (const [index, user] of USERS.entries()) {
    const client = await server.client(user).catch(() => null);
    if (!client) throw new Error(`no connection for ${user}`);
    const other = server.connect(server.ws('/ws', { user, query: { dialect: 'realtime' } }));
    await other.opened;
    const topics = ['board.kitchen', ...(index % 2 ? ['board.hall'] : ['news'])];
    other.socket.send(JSON.stringify({ type: 'Subscribe', data: { topics } }));
    await call('POST', '/api/v1/accounts', { email: `${user}@example.com`, password: 'correct horse battery', roles: index ? ['user'] : ['admin'] });
  }
  for (const [name, scopes] of [['billing', ['publish']], ['dashboard', ['read']], ['operations', ['admin']]]) await call('POST', '/api/v1/keys', { name, scopes });
  for (const user of ['mia', 'noah']) {
    const staff = server.connect(server.ws('/ws', { listener: 1 }));
    await staff.opened;
    staff.send({ type: 'auth', token: token(user, { roles: user === 'mia' ? ['staff'] : [] }) });
    staff.send({ type: 'subscribe', topic: 'board.*' });
  }
  // Makes an entry for the page of problems.
  await server.dial('?token=no.token.here').refused.catch(() => null);
}

// Traces an event that one user receives and another does not; returns the address of its page.
async function traced() {
  await call('POST', '/api/v1/trace', { channel: 'board.staff', user: 'noah', events: 10, seconds: 60 });
  let id;
  for (const type of ['rota', 'rota', 'handover']) {
    ({ ids: [id] } = await call('POST', '/api/v1/events', { to: { channel: 'board.staff' }, type, data: { text: 'Keys are at the desk.' } }));
    await sleep(300);
  }
  return `#/trace?event=${id}&user=noah`;
}

// Runs in the page: replaces the paths of the temporary folder by those of an installed server.
function asInstalled() {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) walker.currentNode.nodeValue = walker.currentNode.nodeValue.replaceAll(/\/[\w/.-]*fanfare-\w{6}(?=\/|\b)/g, '/etc/fanfare');
}

async function shoot(browser, look, colorScheme, path, pages, signedIn) {
  const page = await browser.newPage({ viewport: SIZES[look], colorScheme });
  await page.goto(server.http(path));
  if (signedIn) {
    await page.fill('input[name=key]', KEY);
    await page.click('button:text("Sign in")');
    await page.waitForSelector('.frame');
  } else {
    await page.waitForSelector('.entry');
  }
  for (const [name, hash] of Object.entries(pages)) {
    await page.evaluate((to) => void (location.hash = to), hash);
    await page.waitForTimeout(name === 'overview' ? 8000 : 1000);
    await page.evaluate(asInstalled);
    const file = join(folder, `${name}-${look}-${colorScheme}.png`);
    await page.screenshot({ path: file });
    spawnSync('pngquant', ['--force', '--strip', '--nofs', '--speed', '1', '--output', file, '48', file]);
    const sticksOut = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    console.log(file, sticksOut ? 'STICKS OUT' : '');
  }
  await page.close();
}

try {
  await life();
  ADMIN.trace = await traced();
  const traffic = setInterval(() => void call('POST', '/api/v1/events', { to: { channel: 'board.kitchen' }, type: 'note', data: { text: 'The roses!' } }), 100);
  await sleep(1000);
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
  for (const look of Object.keys(SIZES)) {
    for (const scheme of ['light', 'dark']) {
      if (only !== 'docs') await shoot(browser, look, scheme, '/admin', ADMIN, true);
      if (only !== 'admin') await shoot(browser, look, scheme, '/docs', DOCS, false);
    }
  }
  await browser.close();
  clearInterval(traffic);
} finally {
  for (const end of ends) await end();
}
