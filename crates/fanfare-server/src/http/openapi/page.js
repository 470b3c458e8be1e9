// Shows openapi.json and asyncapi.json, and sends requests. All that is shown is set as text, never as HTML.
"use strict";

/** An element with properties and children. */
function el(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child != null));
  return made;
}

/** `value` with its references into `root` followed; what refers to itself is left as it is. */
function resolved(root, value, seen = []) {
  if (Array.isArray(value)) return value.map((item) => resolved(root, item, seen));
  if (value === null || typeof value !== "object") return value;
  const target = value.$ref;
  if (typeof target === "string") {
    if (seen.includes(target)) return value;
    const found = target.slice(2).split("/").reduce((at, key) => at?.[key.replace(/~1/g, "/").replace(/~0/g, "~")], root);
    return resolved(root, found, [...seen, target]);
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolved(root, item, seen)]));
}

const json = (value) => el("pre", { tabIndex: 0, textContent: JSON.stringify(value, null, 2) });

function folded(title, ...children) {
  return el("details", {}, el("summary", {}, ...title), el("div", {}, ...children));
}

const method = (text) => el("span", { className: "method", textContent: text.toUpperCase() });
const muted = (text) => el("span", { className: "muted", textContent: text });

/** The media types of a request or an answer. */
function contents(content) {
  return Object.entries(content ?? {}).flatMap(([type, { schema, example }]) => [
    el("p", {}, el("code", { textContent: type })),
    ...(example === undefined ? [] : [json(example)]),
    folded(["Schema"], json(schema ?? {})),
  ]);
}

/** A form that sends the request and shows the answer. */
function trial(base, path, verb, operation) {
  const fields = (operation.parameters ?? []).map((parameter) => [parameter, el("input", { type: "text" })]);
  const media = operation.requestBody?.content?.["application/json"];
  const body = media && el("textarea", { spellcheck: false, value: JSON.stringify(media.example ?? {}, null, 2) });
  const answer = el("div", { ariaLive: "polite" });
  const button = el("button", { type: "button", textContent: "Send" });
  button.onclick = async () => {
    const query = new URLSearchParams();
    let url = base + path;
    for (const [parameter, { value }] of fields) {
      if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(value));
      else if (parameter.in === "query" && value !== "") query.set(parameter.name, value);
    }
    const headers = {};
    const key = document.getElementById("key").value;
    if (key) headers.Authorization = `Bearer ${key}`;
    if (body) headers["Content-Type"] = "application/json";
    try {
      const response = await fetch(query.size ? `${url}?${query}` : url, { method: verb.toUpperCase(), headers, body: body?.value });
      const text = await response.text();
      let shown = text;
      try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON */ }
      answer.replaceChildren(el("p", { textContent: `${response.status} ${response.statusText}` }), el("pre", { tabIndex: 0, textContent: shown }));
    } catch (error) {
      answer.replaceChildren(el("p", { textContent: String(error) }));
    }
  };
  const labels = fields.map(([parameter, input]) =>
    el("label", {}, el("code", { textContent: `${parameter.name} (${parameter.in})` }), " ", input, " ", muted(parameter.description ?? "")));
  return el("div", {}, ...labels, body && el("label", {}, "Body", body), button, answer);
}

function operationOf(base, path, verb, operation) {
  const upgrade = operation.responses?.["101"];
  const answers = Object.entries(operation.responses ?? {}).map(([status, answer]) =>
    folded([el("code", { textContent: status }), " ", answer.description], ...contents(answer.content)));
  return folded(
    [method(verb), el("code", { textContent: path }), " ", muted(operation.summary ?? "")],
    operation.description && el("p", { textContent: operation.description }),
    upgrade ? null : trial(base, path, verb, operation),
    operation.requestBody && folded(["Request"], ...contents(operation.requestBody.content)),
    ...answers,
  );
}

function routes(document) {
  const base = (document.servers?.[0]?.url ?? "/").replace(/\/$/, "");
  const all = Object.entries(document.paths).flatMap(([path, verbs]) =>
    Object.entries(verbs).map(([verb, operation]) => ({ path, verb, operation: resolved(document, operation) })));
  return document.tags.flatMap(({ name, description }) => [
    el("h2", { textContent: name }),
    description && el("p", { textContent: description }),
    ...all.filter(({ operation }) => operation.tags.includes(name))
      .map(({ path, verb, operation }) => operationOf(base, path, verb, operation)),
  ]);
}

function messages(document) {
  return Object.entries(document.channels).flatMap(([name, channel]) => [
    el("h2", { textContent: `WebSocket: ${name}` }),
    el("p", { textContent: channel.description ?? "" }),
    el("p", {}, el("code", { textContent: channel.address }), ...Object.entries(channel.bindings?.ws?.query?.properties ?? {})
      .map(([key, schema]) => el("label", {}, el("code", { textContent: `?${key}=` }), " ", muted(schema.description ?? "")))),
    ...Object.entries(channel.messages).map(([key]) => {
      const message = resolved(document, channel.messages[key]);
      const side = key.startsWith("client.") ? "client" : "server";
      return folded([method(side), el("code", { textContent: message.name }), " ", muted(message.summary ?? "")],
        ...(message.examples ?? []).map(({ payload }) => json(payload)), folded(["Schema"], json(message.payload)));
    }),
  ]);
}

async function show() {
  const main = document.querySelector("main");
  try {
    const [openapi, asyncapi] = await Promise.all(
      ["openapi.json", "asyncapi.json"].map(async (name) => (await fetch(name)).json()));
    main.replaceChildren(...[...routes(openapi), ...messages(asyncapi)].filter(Boolean));
  } catch (error) {
    main.replaceChildren(el("p", { textContent: `The documents cannot be shown: ${error}` }));
  }
}

show();
