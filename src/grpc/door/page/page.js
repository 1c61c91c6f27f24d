"use strict";
// Reads GET /v1/…, follows turns and changes by EventSource. Texts of people and models become text nodes and nothing else.

/* ---- small things ---- */

const byId = (id) => document.getElementById(id);

// An element; what is no element among its children is text.
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

async function read(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  const body = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(body.error?.message ?? `HTTP ${answer.status}`), { status: answer.status });
  return body;
}

// All rows of a list, page by page.
async function readAll(path, list) {
  const rows = [];
  for (let token = ""; ;) {
    const page = await read(`${path}?page_size=1000${token && `&page_token=${encodeURIComponent(token)}`}`);
    rows.push(...(page[list] ?? []));
    token = page.nextPageToken ?? "";
    if (!token) return rows;
  }
}

const words = (state) => (state ?? "").replace(/^STATE_/, "").replaceAll("_", " ").toLowerCase();
const badge = (state) => make("span", { className: "badge", "data-state": words(state) }, words(state) || "unknown");
const plural = (count, one) => `${count} ${one}${Number(count) === 1 ? "" : "s"}`;

function when(text) {
  const time = new Date(text);
  const isToday = time.toDateString() === new Date().toDateString();
  const shown = isToday ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" };
  return make("time", { dateTime: text, title: time.toLocaleString() }, time.toLocaleString(undefined, shown));
}

function price(cost) {
  const amount = Number(cost?.units ?? 0) + (cost?.nanos ?? 0) / 1e9;
  if (!amount) return null;
  return make("span", {}, `${amount.toPrecision(2)} ${cost.currencyCode ?? ""}`);
}

function tokens(usage) {
  const total = Number(usage?.totalTokens ?? 0);
  return total ? make("span", {}, plural(total, "token")) : null;
}

/* ---- entries ---- */

function chunk(part) {
  if ("text" in part) return make("div", { className: "text" }, part.text);
  if (part.thinking) {
    return make("details", {}, make("summary", {}, "Thought before"), ...(part.thinking.content ?? []).map(chunk));
  }
  // Nothing is loaded from elsewhere: pictures and documents are told, not shown.
  const [kind, value] = Object.entries(part)[0] ?? ["nothing", {}];
  return make("pre", {}, `${kind}: ${value.url ?? value.title ?? value.fileName ?? value.fileId ?? ""}`.slice(0, 300));
}

const NAMES = { ROLE_USER: "You", ROLE_SYSTEM: "System", ROLE_ASSISTANT: "Assistant" };

function pieces(entry) {
  const made = entry.model || "Assistant";
  if (entry.messageInput) {
    const { role = "ROLE_USER", content = [] } = entry.messageInput;
    return { className: role === "ROLE_USER" ? "user" : "", title: NAMES[role] ?? role, body: content.map(chunk) };
  }
  if (entry.messageOutput) return { className: "", title: made, body: (entry.messageOutput.content ?? []).map(chunk) };
  if (entry.functionCall) {
    const { name, arguments: given } = entry.functionCall;
    return { className: "tool", title: `${made} asks for ${name}`, body: [make("pre", {}, given ?? "")] };
  }
  if (entry.functionResult) {
    const { isError, content = [] } = entry.functionResult;
    return { className: "tool", title: isError ? "It failed" : "The result", body: content.map(chunk) };
  }
  if (entry.toolExecution) {
    const { name, arguments: given, result = [], error } = entry.toolExecution;
    const body = [make("pre", {}, given ?? ""), ...result.map(chunk), error ? make("p", { className: "error" }, error) : null];
    return { className: "tool", title: `${name} was run`, body };
  }
  if (entry.agentHandoff) {
    const { previousAgentName, nextAgentName } = entry.agentHandoff;
    return { className: "tool", title: `${previousAgentName} hands over to ${nextAgentName}`, body: [] };
  }
  return { className: "tool", title: "A person is asked", body: [make("div", { className: "text" }, entry.humanHandoff?.message ?? "")] };
}

function card(entry) {
  const { className, title, body } = pieces(entry);
  return make("li", { className: `entry ${className}`, "data-id": entry.id ?? "" }, make("h3", {}, title), ...body);
}

/* ---- the list ---- */

const list = { rows: new Map(), titles: new Map(), next: "" };

async function titleOf(conversation) {
  if (!list.titles.has(conversation.rootId)) {
    const first = read(`/v1/conversations/${conversation.rootId}/entries?page_size=1`).then(({ entries }) => {
      const said = entries?.[0]?.messageInput?.content?.map((part) => part.text ?? "").join(" ");
      return said?.trim().slice(0, 200) || "Without words";
    });
    list.titles.set(conversation.rootId, first.catch(() => "Without words"));
  }
  return list.titles.get(conversation.rootId);
}

function row(conversation) {
  const title = make("span", { className: "title" }, "…");
  titleOf(conversation).then((text) => { title.textContent = text; });
  const facts = make("span", { className: "facts" }, when(conversation.createdAt),
    make("span", {}, plural(conversation.turnCount ?? 1, "turn")), make("span", {}, conversation.model ?? conversation.agentId ?? ""));
  return make("li", {}, make("a", { href: `#/c/${conversation.id}` }, title, facts));
}

async function loadList(token = "") {
  const page = await read(`/v1/conversations?heads_only=true&page_size=50${token && `&page_token=${encodeURIComponent(token)}`}`);
  const rows = (page.conversations ?? []).map((conversation) => [conversation.id, row(conversation)]);
  if (!token) list.rows.clear();
  for (const [id, element] of rows) list.rows.set(id, element);
  list.next = page.nextPageToken ?? "";
  byId("conversations").replaceChildren(...list.rows.values());
  byId("more").hidden = !list.next;
  byId("none").hidden = list.rows.size > 0;
  mark();
}

async function loadRunning() {
  const page = await read("/v1/turns?page_size=20&states=STATE_RUNNING&states=STATE_QUEUED").catch(() => ({}));
  const rows = (page.turns ?? []).map((turn) => make("li", {}, make("a", { href: `#/t/${turn.id}` },
    make("span", { className: "title" }, turn.model || turn.agentId || turn.id),
    make("span", { className: "facts" }, badge(turn.state), when(turn.createdAt)))));
  byId("running").hidden = rows.length === 0;
  byId("running").querySelector("ul").replaceChildren(...rows);
  mark();
}

function mark() {
  for (const link of document.querySelectorAll("nav a, .tree a")) {
    if (link.getAttribute("href") === location.hash) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/* ---- a conversation ---- */

// A line of versions stands under one another; where it forks, each branch is a list of its own.
function branch(version, children) {
  const items = [];
  for (let at = version; at;) {
    items.push(make("li", {}, make("a", { href: `#/c/${at.id}` },
      make("span", {}, `Turn ${at.turnCount ?? 1}`), when(at.createdAt),
      at.turnState === "STATE_COMPLETED" ? null : badge(at.turnState))));
    const next = children.get(at.id) ?? [];
    if (next.length > 1) {
      items.push(...next.map((child, i) => make("li", {}, make("span", { className: "fork" }, `Branch ${i + 1}`), make("ul", {}, ...branch(child, children)))));
    }
    at = next.length === 1 ? next[0] : null;
  }
  return items;
}

function tree(versions) {
  const known = new Set(versions.map((version) => version.id));
  const children = new Map();
  const roots = [];
  for (const version of [...versions].sort((one, other) => (one.id < other.id ? -1 : 1))) {
    if (!known.has(version.parentId)) roots.push(version);
    else children.set(version.parentId, [...(children.get(version.parentId) ?? []), version]);
  }
  return make("ul", {}, ...roots.flatMap((root) => branch(root, children)));
}

async function showConversation(id) {
  const [version, versions, entries] = await Promise.all([
    read(`/v1/conversations/${id}`), readAll(`/v1/conversations/${id}/versions`, "versions"), readAll(`/v1/conversations/${id}/entries`, "entries")]);
  if (location.hash !== `#/c/${id}`) return;
  const head = make("div", { className: "head" }, make("h1", {}, await titleOf(version)), badge(version.turnState),
    make("a", { className: "button", href: `#/t/${version.turnId}` }, "Replay its last turn"),
    make("p", { className: "facts" }, make("span", { className: "id" }, version.id), when(version.createdAt),
      make("span", {}, version.model ?? version.agentId ?? ""), tokens(version.usage), price(version.cost)));
  byId("main").replaceChildren(make("article", { className: "sheet" }, head,
    make("ol", { className: "history", "aria-label": "History" }, ...entries.map(card)),
    make("aside", { className: "side" }, make("h2", {}, plural(versions.length, "version")), make("div", { className: "tree" }, tree(versions)))));
  mark();
}

/* ---- a turn ---- */

const EVENTS = ["conversation.response.started", "message.output.delta", "function.call.delta", "tool.execution.started",
  "tool.execution.delta", "tool.execution.done", "agent.handoff.started", "agent.handoff.done", "conversation.handoff", "entry.done",
  "upstream.retry", "upstream.switched", "conversation.response.done", "conversation.response.error", "turn.queued", "turn.resumed",
  "turn.requeued", "turn.conflict"];

class Turn {
  constructor(id) {
    this.id = id;
    this.last = 0;
    this.open = new Map();
    this.state = badge("STATE_RUNNING");
    this.lamp = make("p", { className: "lamp", role: "status", "data-state": "waiting" }, "connecting");
    this.links = make("span", {});
    this.history = make("ol", { className: "history", "aria-label": "What is said" });
    this.log = make("ol", { className: "log", "aria-label": "Events" });
    const head = make("div", { className: "head" }, make("h1", {}, "A turn"), this.state, this.lamp, this.links,
      make("p", { className: "facts" }, make("span", { className: "id" }, id)));
    byId("main").replaceChildren(make("article", { className: "sheet" }, head, this.history,
      make("aside", { className: "side" }, make("h2", {}, "Events"), this.log)));
    this.connect();
  }

  connect() {
    this.source = new EventSource(`/v1/turns/${encodeURIComponent(this.id)}/events?after_sequence=${this.last}`);
    this.source.onopen = () => this.say("live", "live");
    // The browser comes back by itself, after the last event that it got; unless it was refused.
    this.source.onerror = () => (this.source.readyState === EventSource.CLOSED ? this.refused() : this.say("lost", "connecting again"));
    for (const name of EVENTS) this.source.addEventListener(name, (event) => this.take(name, JSON.parse(event.data)));
  }

  close() {
    this.source.close();
    clearTimeout(this.later);
  }

  say(state, text) {
    this.lamp.dataset.state = state;
    this.lamp.textContent = text;
  }

  async refused() {
    try {
      const turn = await read(`/v1/turns/${encodeURIComponent(this.id)}`);
      this.ended(turn);
      if (!turn.completedAt && !turn.error) throw new Error("it goes on");
    } catch (error) {
      if (error.status >= 400 && error.status < 429) return this.failed(error.message);
      this.say("lost", "connecting again");
      this.later = setTimeout(() => this.connect(), 3000);
    }
  }

  take(name, event) {
    this.last = Number(event.sequence);
    const isDelta = name.endsWith(".delta");
    this.log.append(make("li", { className: isDelta ? "quietly" : "" }, make("span", { className: "id" }, event.sequence), name));
    this.log.scrollTop = this.log.scrollHeight;
    const main = byId("main");
    const atEnd = main.scrollHeight - main.scrollTop - main.clientHeight < 80;
    this.apply(event);
    if (atEnd) main.scrollTop = main.scrollHeight;
  }

  apply(event) {
    if (event.responseStarted) {
      this.history.append(...(event.responseStarted.inputs ?? []).map(card));
    } else if (event.messageOutputDelta) {
      this.delta(event.messageOutputDelta);
    } else if (event.functionCallDelta) {
      const { entryId, name, arguments: piece, outputIndex } = event.functionCallDelta;
      this.body(entryId, `Asks for ${name}`, "tool", "pre", outputIndex).append(piece ?? "");
    } else if (event.toolExecutionStarted) {
      const { entryId, name, arguments: given, outputIndex } = event.toolExecutionStarted;
      this.body(entryId, `Runs ${name}`, "tool", "pre", outputIndex).append(given ?? "");
    } else if (event.toolExecutionDelta) {
      this.body(event.toolExecutionDelta.entryId, "", "tool", "pre").append(`\n${event.toolExecutionDelta.message ?? ""}`);
    } else if (event.entryDone) {
      this.done(event.entryDone.entry);
    } else if (event.turnResumed) {
      this.drop(event.turnResumed.keptOutputCount ?? 0);
    } else if (event.responseDone) {
      this.ended(event.responseDone.turn);
    } else if (event.responseError) {
      this.failed(event.responseError.status?.message);
    }
  }

  // Where the pieces of an entry go until it is done.
  body(id, title, className, tag, index = 0) {
    if (!this.open.has(id)) {
      const body = make(tag, tag === "div" ? { className: "text" } : {});
      const item = make("li", { className: `entry open ${className}` }, make("h3", {}, title), body);
      this.open.set(id, { item, body, chunk: 0, index });
      this.history.append(item);
    }
    return this.open.get(id).body;
  }

  delta({ entryId, model, contentIndex = 0, content = {}, outputIndex }) {
    this.body(entryId, model || "Assistant", "", "div", outputIndex);
    const open = this.open.get(entryId);
    const isThought = Boolean(content.thinking);
    if (contentIndex !== open.chunk || isThought !== Boolean(open.thinks)) {
      open.chunk = contentIndex;
      open.thinks = isThought;
      open.body = make("div", { className: "text" });
      open.item.append(isThought ? make("details", {}, make("summary", {}, "Thinks"), open.body) : open.body);
    }
    const text = isThought ? (content.thinking.content ?? []).map((part) => part.text ?? "").join("") : content.text;
    if (text === undefined) open.item.append(chunk(content));
    else open.body.append(text);
  }

  done(entry) {
    const finished = card(entry);
    finished.dataset.done = "";
    const open = this.open.get(entry.id);
    if (open) open.item.replaceWith(finished);
    else this.history.append(finished);
    this.open.set(entry.id, { ...open, item: finished, index: open?.index ?? this.open.size });
  }

  // The server went down in the middle: what is not kept comes anew.
  drop(kept) {
    for (const [id, { item, index }] of this.open) {
      if (index >= kept) {
        item.remove();
        this.open.delete(id);
      }
    }
  }

  ended(turn) {
    this.state.replaceWith(this.state = badge(turn.state));
    if (turn.error) return this.failed(turn.error.message);
    if (turn.conversationId) this.links.replaceChildren(make("a", { className: "button", href: `#/c/${turn.conversationId}` }, "The conversation"));
    if (turn.completedAt) this.finish("ended", "ended");
  }

  failed(message) {
    this.history.append(make("li", { className: "entry error" }, message ?? "It failed."));
    if (words("STATE_RUNNING") === this.state.textContent) this.state.replaceWith(this.state = badge("STATE_FAILED"));
    this.finish("failed", "ended");
  }

  finish(state, text) {
    this.say(state, text);
    this.close();
    for (const { item } of this.open.values()) item.classList.remove("open");
  }
}

/* ---- what happens on the server ---- */

const CHANGES = ["turn.queued", "turn.started", "turn.requeued", "turn.failed", "turn.cancelled", "turn.completed",
  "turn.requires_action", "turn.incomplete", "conversation.deleted", "batch.ended"];
const watch = { source: null, soon: 0 };

function refresh() {
  clearTimeout(watch.soon);
  watch.soon = setTimeout(() => { loadList().catch(complain); loadRunning(); }, 200);
}

function startWatch() {
  if (watch.source) return;
  const say = (state, text) => Object.assign(byId("watching"), { textContent: text }).setAttribute("data-state", state);
  watch.source = new EventSource("/v1/watch");
  // What happened while nobody watched is read anew.
  watch.source.onopen = () => { say("live", "live"); refresh(); };
  watch.source.onerror = () => {
    say("lost", "connecting again");
    if (watch.source?.readyState === EventSource.CLOSED) {
      stopWatch();
      setTimeout(() => document.hidden || startWatch(), 3000);
    }
  };
  for (const name of CHANGES) watch.source.addEventListener(name, refresh);
}

// Browsers share few connections among all tabs.
function stopWatch() {
  watch.source?.close();
  watch.source = null;
}

/* ---- where we are ---- */

let turn = null;

function complain(error) {
  byId("main").replaceChildren(make("p", { className: "welcome error" }, error.message));
}

function go() {
  turn?.close();
  turn = null;
  const [, kind, id] = location.hash.split("/");
  if (kind === "c" && id) showConversation(id).catch(complain);
  else if (kind === "t" && id) turn = new Turn(id);
  else byId("main").replaceChildren(make("p", { className: "welcome" }, "Choose a conversation, or follow a turn while it is written."));
  mark();
}

byId("follow").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = byId("turn-id").value.trim();
  if (id) location.hash = `#/t/${encodeURIComponent(id)}`;
});
byId("more").addEventListener("click", () => loadList(list.next).catch(complain));
document.addEventListener("visibilitychange", () => (document.hidden ? stopWatch() : startWatch()));
addEventListener("hashchange", () => { go(); byId("main").focus({ preventScroll: true }); });
startWatch();
go();
