// The page of the admin service. All text from breakers goes through textContent.

const base = location.pathname.replace(/\/?$/, "/");
const $ = (id) => document.getElementById(id);

// An icon besides the colour and the word: how the states differ without colours.
const STATES = {
  open: { word: "Open", tone: "bad", rank: 0, icon: "M8 2.5v7M8 13.4v.1" },
  half_open: { word: "Half-open", tone: "warn", rank: 1, icon: "M8 2.5v11A5.5 5.5 0 0 1 8 2.500z" },
  forced_open: { word: "Forced open", tone: "hand", rank: 2, icon: "M4 4l8 8M12 4l-8 8" },
  disabled: { word: "Disabled", tone: "off", rank: 3, icon: "M8 2v5M4.5 4.5a5 5 0 1 0 7 0" },
  metrics_only: {
    word: "Metrics only", tone: "info", rank: 4, icon: "M2 13h12M4 13V8M8 13V3M12 13V6",
  },
  closed: { word: "Closed", tone: "good", rank: 5, icon: "M2.5 8.5l3.8 3.8 7.200-8" },
};
const UNKNOWN = { word: "Unknown", tone: "off", rank: 6, icon: "M8 4v5M8 12v.1" };
const REASONS = {
  consecutive_failures: "Failures in a row",
  failure_rate: "Failure rate",
  slow_call_rate: "Slow calls",
  recovery_timeout: "Open time is over, probing",
  probes_succeeded: "Probes succeeded",
  probe_failed: "A probe failed",
  probe_slow: "A probe was slow",
  probe_timeout: "A probe took too long",
  health_check: "Health check",
  restored: "Restored from the store",
  manual: "By hand",
  reset: "Reset by hand",
  manual_expired: "Time set by hand is over",
  fleet: "Taken over from the fleet",
};
const FILTERS = [
  ["all", "All", () => true],
  ["open", "Open", (b) => b.state === "open" || b.state === "forced_open"],
  ["half_open", "Half-open", (b) => b.state === "half_open"],
  ["hand", "By hand", (b) => ["forced_open", "disabled", "metrics_only"].includes(b.state)],
  ["closed", "Closed", (b) => b.state === "closed"],
];
const SAMPLES = 40;
const LIMIT = 1000; // rows at most
const UNGROUPED = "-"; // what the service takes for: in no group

const rows = new Map(); // by id
let filter = "all";
let group = ""; // the id of the chosen one
let groups = [];
let total = 0; // as many breakers as the service has, of those that it was asked for
let asked = ""; // what names had to contain in the last answer
let access = "read_only";
let skew = 0; // the server's clock minus this one's, in seconds
let token = "";

const now = () => Date.now() / 1000 + skew;
const stateOf = (breaker) => STATES[breaker.state] ?? UNKNOWN;

// Text that could hide or reorder its surroundings is shown as escapes.
function visible(text) {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min${s < 600 && s % 60 ? ` ${s % 60} s` : ""}`;
  const minutes = Math.floor((s % 3600) / 60);
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h${minutes ? ` ${minutes} min` : ""}`;
  return `${Math.floor(s / 86400)} days`;
}

const moment = (at) => new Date(at * 1000);
const clockTime = (at) =>
  moment(at).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// ---- one row ----

class Row {
  constructor(breaker) {
    this.node = $("row").content.firstElementChild.cloneNode(true);
    const part = (selector) => this.node.querySelector(selector);
    this.parts = {
      name: part(".name h2 bdi"), vital: part(".vital"), inGroup: part(".in-group"),
      icon: part(".badge path"), word: part(".word"),
      ratio: part(".ratio"), curve: part(".curve"), area: part(".area"), limit: part(".limit"),
      since: part(".since time"), until: part(".until time"), untilCell: part(".until"),
      reason: part(".reason"), note: part(".note"), store: part(".store"),
      history: part(".past"), details: part(".history"), replicas: part(".replicas"),
      showHistory: part(".show-history"), change: part(".change"),
    };
    this.samples = [];
    this.onScreen = false;
    this.seen = "";
    this.parts.showHistory.addEventListener("click", () => this.toggleHistory());
    this.parts.change.addEventListener("click", () => openDialog(this));
    this.update(breaker);
  }

  update(breaker) {
    const text = JSON.stringify(breaker);
    if (text === this.seen) return;
    const before = this.breaker;
    this.seen = text;
    this.breaker = breaker;
    const { word, tone, icon } = stateOf(breaker);
    const p = this.parts;
    const name = visible(breaker.name);
    setText(p.name, name);
    p.vital.hidden = !breaker.vital;
    p.inGroup.hidden = !breaker.group;
    setText(p.inGroup.querySelector("bdi"), breaker.group ? visible(breaker.group) : "");
    this.node.dataset.tone = tone;
    this.node.dataset.state = breaker.state;
    p.icon.setAttribute("d", icon);
    setText(p.word, word);
    setText(p.ratio, this.describeFailures());
    setText(p.reason, REASONS[breaker.reason] ?? (breaker.reason ? visible(breaker.reason) : ""));
    setText(p.note, said(breaker));
    const trouble = breaker.store.health === "degraded" || breaker.store.health === "superseded";
    const alone = breaker.fleet?.health === "alone";
    const troubles = [
      trouble ? `Store: ${visible(breaker.store.detail)}` : "",
      alone ? `Fleet: ${visible(breaker.fleet.detail)}` : "",
    ].filter(Boolean);
    p.store.hidden = troubles.length === 0;
    setText(p.store, troubles.join(". "));
    p.showHistory.setAttribute("aria-label", `History of ${name}`);
    p.change.setAttribute("aria-label", `Change ${name}`);
    this.tick();
    if (before && before.state !== breaker.state) this.flash();
    if (before && before.since !== breaker.since && !p.details.hidden) this.loadHistory();
  }

  flash() {
    this.node.classList.remove("flash");
    void this.node.offsetWidth;
    this.node.classList.add("flash");
  }

  // How near the circuit is to opening, by its first rule that says so: a share, and its limit.
  failures() {
    const { window: counts, trip_on: rules, consecutive_failures: row } = this.breaker;
    const rate = rules.map((rule) => rule.failure_rate ?? rule.slow_call_rate).find(Boolean);
    if (rate && counts) {
      const isSlow = !rules.find((rule) => rule.failure_rate || rule.slow_call_rate).failure_rate;
      const bad = isSlow ? counts.slow_calls : counts.failures;
      const share = counts.calls ? bad / counts.calls : 0;
      return { share, limit: rate.threshold, bad, calls: counts.calls, isSlow };
    }
    const limit = rules.map((rule) => rule.consecutive_failures).find(Boolean);
    return { share: limit ? Math.min(1, row / limit) : 0, limit: 1, row, most: limit };
  }

  describeFailures() {
    const { share, bad, calls, isSlow, row, most } = this.failures();
    if (calls !== undefined) {
      if (!calls) return "no calls";
      return `${Math.round(share * 100)}% ${isSlow ? "slow, " : ""}${bad}/${calls}`;
    }
    return most ? `${row} of ${most} in a row` : `${row} in a row`;
  }

  sample() {
    this.samples.push(this.failures().share);
    if (this.samples.length > SAMPLES) this.samples.shift();
    if (this.onScreen) this.draw();
  }

  draw() {
    const y = (share) => (26 - 24 * share).toFixed(1);
    const step = 100 / (SAMPLES - 1);
    const from = SAMPLES - this.samples.length;
    const points = this.samples.map((share, i) => `${((from + i) * step).toFixed(1)} ${y(share)}`);
    const curve = points.length ? `M${points.length > 1 ? points.join("L") : `0 ${points[0].split(" ")[1]}L${points[0]}`}` : "";
    if (curve === this.drawn) return;
    this.drawn = curve;
    const start = curve.slice(1).split(" ")[0];
    this.parts.curve.setAttribute("d", curve);
    this.parts.area.setAttribute("d", curve ? `${curve}L100 26L${start} 26Z` : "");
    this.parts.limit.setAttribute("d", `M0 ${y(this.failures().limit)}H100`);
  }

  // What changes with time alone.
  tick() {
    const { since, until } = this.breaker;
    const p = this.parts;
    this.time(p.since, since, since === null ? "" : `${span(now() - since)} ago`);
    const left = until === null ? null : until - now();
    this.time(p.until, until, left === null ? "" : left > 0 ? `in ${span(left)}` : "now");
    p.untilCell.classList.toggle("soon", left !== null && left < 60);
  }

  time(node, at, text) {
    if (node.textContent === text) return;
    node.textContent = text;
    if (at === null) return;
    node.dateTime = moment(at).toISOString();
    node.title = clockTime(at);
  }

  toggleHistory() {
    const { details, showHistory } = this.parts;
    details.hidden = !details.hidden;
    showHistory.setAttribute("aria-expanded", String(!details.hidden));
    details.setAttribute("aria-label", `History of ${visible(this.breaker.name)}`);
    if (!details.hidden) {
      this.loadHistory();
      this.loadReplicas();
    }
  }

  // Each replica is asked, so only when someone looks.
  async loadReplicas() {
    const { replicas } = this.parts;
    if (!this.breaker.fleet) {
      replicas.hidden = true;
      return;
    }
    let found;
    try {
      found = await getJson(`breakers/${this.breaker.id}`);
    } catch (error) {
      found = { replicas_problem: error.message };
    }
    replicas.hidden = false;
    const list = document.createElement("ul");
    list.append(...(found.replicas ?? []).map(replicaItem));
    const title = element("h3", "", "Replicas");
    const again = element("button", "", "Ask again");
    again.type = "button";
    again.addEventListener("click", () => this.loadReplicas());
    const problem = found.replicas ? [] : [element("p", "said", `They cannot be asked: ${visible(found.replicas_problem ?? "")}`)];
    replicas.replaceChildren(title, list, ...problem, again);
  }

  async loadHistory(before) {
    const { history } = this.parts;
    const query = before ? `&before=${encodeURIComponent(before)}` : "";
    let page;
    try {
      page = await getJson(`breakers/${this.breaker.id}/history?limit=20${query}`);
    } catch (error) {
      history.replaceChildren(element("p", "said", `The history cannot be read: ${error.message}`));
      return;
    }
    let list = history.querySelector("ol");
    if (!before || !list) {
      list = document.createElement("ol");
      history.replaceChildren(list);
    }
    history.querySelector("button")?.remove();
    list.append(...page.entries.map(historyItem));
    if (!list.children.length) {
      const stored = this.breaker.store.health !== "no_store";
      const why = stored ? "Nothing happened yet." : "There is no history without a store.";
      history.replaceChildren(element("p", "said", why));
    }
    if (page.next) {
      const older = element("button", "", "Older");
      older.type = "button";
      older.addEventListener("click", () => this.loadHistory(page.next));
      history.append(older);
    }
  }
}

function element(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.textContent = text;
  return node;
}

function replicaItem({ replica, view }) {
  const item = document.createElement("li");
  const id = element("bdi", "", visible(replica.id));
  const silent = replica.is_present ? "No answer" : "Gone";
  const state = element("span", "", view ? (STATES[view.state] ?? UNKNOWN).word : silent);
  const parts = [];
  if (view?.is_own) parts.push("its own state");
  if (view?.reason) parts.push(REASONS[view.reason] ?? visible(view.reason));
  if (view?.since !== undefined) parts.push(`since ${clockTime(view.since)}`);
  if (view?.window_calls) parts.push(`${view.window_failures}/${view.window_calls} failed`);
  else if (view) parts.push(`${view.consecutive_failures} failures in a row`);
  if (!view) parts.push(`last seen ${span(now() - replica.last_seen)} ago`);
  item.append(id, state, element("span", "said", parts.join(", ")));
  return item;
}

// Who said what about a change by hand.
function said({ by, note }) {
  if (!by && !note) return "";
  if (!note) return `by ${visible(by)}`;
  return by ? `${visible(by)}: ${visible(note)}` : visible(note);
}

function historyItem(entry) {
  const item = document.createElement("li");
  const at = element("time", "", clockTime(entry.at));
  at.dateTime = moment(entry.at).toISOString();
  const word = (state) => (STATES[state] ?? UNKNOWN).word;
  const change = element("span", "", `${word(entry.from)} → ${word(entry.to)}`);
  const why = REASONS[entry.reason] ?? entry.reason;
  const count = entry.failure_count ? `, ${entry.failure_count} failures` : "";
  const open = entry.open_time ? `, for ${span(entry.open_time)}` : "";
  const missed = entry.missed ? ` (${entry.missed} before it are not known)` : "";
  const text = said(entry);
  item.append(at, change, element("span", "said", `${why}${count}${open}${text ? `. ${text}` : ""}${missed}`));
  return item;
}

// ---- the list ----

const observer = new IntersectionObserver((changes) => {
  for (const { target, isIntersecting } of changes) {
    const row = rows.get(target.dataset.id);
    if (!row) continue;
    row.onScreen = isIntersecting;
    if (isIntersecting) row.draw();
  }
}, { rootMargin: "200px" });

// An answer may arrive after an event that came later: a row shows the newest that is known. Unless
// the service's clock has gone back.
const isNewer = (row, at) => row.at > at && row.at - at < 60;

function put(breaker, at) {
  const row = rows.get(breaker.id);
  if (row) {
    if (isNewer(row, at)) return;
    row.at = at;
    return row.update(breaker);
  }
  const made = new Row(breaker);
  made.at = at;
  made.node.dataset.id = breaker.id;
  rows.set(breaker.id, made);
  observer.observe(made.node);
}

function replaceAll(answer) {
  skew = answer.now - Date.now() / 1000;
  access = answer.access;
  total = answer.total;
  showGroups(answer.groups);
  document.body.classList.toggle("read-only", access === "read_only");
  const ids = new Set(answer.breakers.map((breaker) => breaker.id));
  for (const [id, row] of rows) {
    if (ids.has(id) || isNewer(row, answer.now)) continue;
    observer.unobserve(row.node);
    row.node.remove();
    rows.delete(id);
  }
  for (const breaker of answer.breakers) put(breaker, answer.now);
  for (const row of rows.values()) row.sample();
  arrange();
}

function showGroups(found) {
  const before = JSON.stringify(groups.map(({ id }) => id));
  groups = found;
  if (before !== JSON.stringify(groups.map(({ id }) => id))) {
    const option = (value, text) => {
      const node = element("option", "", text);
      node.value = value;
      return node;
    };
    const all = groups.map(({ id, name }) => option(id, visible(name)));
    $("group").replaceChildren(option("", "All"), option(UNGROUPED, "None"), ...all);
    $("group").value = group;
    $("group-field").hidden = groups.length === 0;
  }
  const chosen = groups.find(({ id }) => id === group);
  $("group-stats").hidden = !chosen;
  if (chosen) setText($("group-stats"), describeGroup(chosen));
}

function describeGroup({ breakers, max_breakers, unrecorded_calls, open_limit }) {
  const number = (count) => count.toLocaleString();
  const parts = [`${number(breakers)} of at most ${number(max_breakers)} breakers`];
  if (unrecorded_calls) parts.push(`${number(unrecorded_calls)} calls were not recorded: the group was full`);
  if (open_limit) {
    const { open, keys_seen, would_have_opened } = open_limit;
    parts.push(`${number(open)} open of ${number(keys_seen)} keys seen in the last minute`);
    if (would_have_opened) parts.push(`${number(would_have_opened)} times a circuit was not allowed to open`);
  }
  return `${parts.join(". ")}.`;
}

// An event may be about a breaker that is not asked for.
function isWanted({ group: name }) {
  if (!group) return true;
  return group === UNGROUPED ? !name : groups.find(({ id }) => id === group)?.name === name;
}

const byName = (a, b) => (a.breaker.name < b.breaker.name ? -1 : 1);
const ORDERS = {
  urgency: (a, b) => stateOf(a.breaker).rank - stateOf(b.breaker).rank || byName(a, b),
  name: byName,
  changed: (a, b) => (b.breaker.since ?? 0) - (a.breaker.since ?? 0) || byName(a, b),
  failures: (a, b) => b.failures().share - a.failures().share || byName(a, b),
};

function arrange() {
  const list = $("list");
  const words = $("search").value.trim().toLowerCase();
  const fits = FILTERS.find(([key]) => key === filter)[2];
  const sorted = [...rows.values()].sort(ORDERS[$("sort").value]);
  const focused = document.activeElement;
  let shown = 0;
  let place = list.firstElementChild;
  for (const row of sorted) {
    const { name, note, by } = row.breaker;
    const matches = !words || [name, note, by].some((text) => text?.toLowerCase().includes(words));
    const hidden = !(matches && fits(row.breaker));
    if (row.node.hidden !== hidden) row.node.hidden = hidden;
    if (!hidden) shown += 1;
    if (place === row.node) place = place.nextElementSibling;
    else list.insertBefore(row.node, place);
  }
  // A node that moves loses the focus.
  if (focused !== document.activeElement && list.contains(focused)) {
    focused.focus({ preventScroll: true });
  }
  $("empty").hidden = shown > 0;
  const empty = rows.size ? "No circuit breaker matches." : "There are no circuit breakers yet.";
  setText($("empty"), empty);
  const hasMore = total > rows.size;
  $("more").hidden = !hasMore;
  if (hasMore) setText($("more"), `${(total - rows.size).toLocaleString()} more are not listed: closed ones, unless all of these are open. Search by name, or choose a group.`);
  setText($("summary"), `${shown} of ${Math.max(total, rows.size)} shown${access === "read_only" ? ", read-only" : ""}`);
  for (const [key, , matches] of FILTERS) {
    const count = sorted.filter((row) => matches(row.breaker)).length;
    const button = $(`filter-${key}`);
    setText(button.querySelector("b"), String(count));
    button.classList.toggle("some-bad", key === "open" && count > 0);
    if (key === "open") document.title = count ? `(${count} open) Circuit breakers` : "Circuit breakers";
  }
}

// A burst of events is one rearrangement.
let planned = false;
function arrangeSoon() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    arrange();
  });
}

for (const [key, text] of FILTERS) {
  const button = element("button", "", `${text} `);
  button.id = `filter-${key}`;
  button.type = "button";
  button.setAttribute("aria-pressed", String(key === filter));
  button.append(element("b", "", "0"));
  button.addEventListener("click", () => {
    filter = key;
    for (const [other] of FILTERS) $(`filter-${other}`).setAttribute("aria-pressed", String(other === key));
    arrange();
  });
  $("filters").append(button);
}
$("search").addEventListener("input", () => {
  arrangeSoon();
  searchSoon();
});
$("group").addEventListener("change", () => {
  group = $("group").value;
  refresh().catch(() => {});
});
$("sort").addEventListener("change", arrange);
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest("input, select, dialog")) return;
  event.preventDefault();
  $("search").focus();
});

// ---- the connection ----

async function getJson(path) {
  const headers = { accept: "application/json" };
  const response = await fetch(base + path, { headers, cache: "no-store" });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail ?? response.statusText);
  return answer;
}

let source = null;
let lostAt = null;
let lastHeard = Date.now();
let retries = 0;
let announced = [];

function showConnection(state, text) {
  $("connection").dataset.state = state;
  setText($("connection-text"), text);
}

function lose() {
  source?.close();
  source = null;
  if (lostAt === null) {
    lostAt = Date.now();
    showConnection("lost", "Connection lost");
    const at = new Date(lostAt).toLocaleTimeString();
    $("banner").className = "";
    $("banner").textContent = `Connection lost at ${at}. The states below may be out of date. Trying again.`;
    $("banner").hidden = false;
  }
  retries += 1;
  setTimeout(connect, Math.min(10_000, 500 * 2 ** Math.min(retries, 5)));
}

function heard() {
  lastHeard = Date.now();
  retries = 0;
  if (lostAt !== null) {
    lostAt = null;
    $("banner").className = "good";
    $("banner").textContent = "The connection is back.";
    setTimeout(() => {
      if (lostAt === null) $("banner").hidden = true;
    }, 4000);
  }
}

// The newest answer counts: an older one may be that of another group.
let requests = 0;
async function refresh() {
  const number = (requests += 1);
  const query = new URLSearchParams({ order: "urgency", limit: LIMIT });
  if (group) query.set("group", group);
  const words = $("search").value.trim();
  // Otherwise all are here, and notes are searched too.
  const search = total > LIMIT || asked ? words : "";
  if (search) query.set("search", search);
  const answer = await getJson(`breakers?${query}`);
  if (number !== requests) return;
  asked = search;
  replaceAll(answer);
}

// What is not here, the service searches.
let searching;
function searchSoon() {
  if (total <= rows.size && !asked) return;
  clearTimeout(searching);
  searching = setTimeout(() => refresh().catch(() => {}), 250);
}

function connect() {
  if (source) return;
  const own = new EventSource(`${base}events`);
  let isOver = false;
  source = own;
  const on = (kind, act) => own.addEventListener(kind, (event) => {
    if (own !== source) return;
    const data = JSON.parse(event.data);
    skew = data.now - Date.now() / 1000;
    act(data);
    lastHeard = Date.now();
  });
  on("hello", () => refresh().then(() => {
    heard();
    showConnection("live", "Live");
  }, lose));
  on("resync", () => refresh().catch(lose));
  on("beat", () => {});
  on("bye", () => {
    isOver = true;
  });
  for (const kind of ["transition", "store", "would_trip"]) {
    on(kind, ({ now: at, breaker, event }) => {
      if (!breaker || !isWanted(breaker)) return;
      put(breaker, at);
      arrangeSoon();
      if (kind === "transition") announce(breaker, event);
    });
  }
  own.addEventListener("error", async () => {
    if (own !== source) return;
    source = null;
    own.close();
    if (isOver) return connect();
    // More listeners than the service has places for: then the page asks from time to time.
    try {
      await refresh();
      heard();
      showConnection("live", "Live, every few seconds");
      setTimeout(connect, 3000);
    } catch {
      lose();
    }
  });
}

// A stream that says nothing, although the service says something every five seconds, is dead.
setInterval(() => {
  if (source && Date.now() - lastHeard > 15_000) lose();
}, 1000);
addEventListener("online", () => connect());
addEventListener("offline", () => source && lose());

// Counts change without events.
setInterval(() => {
  if (!document.hidden && lostAt === null && source) refresh().catch(() => {});
}, 3000);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && lostAt === null) refresh().catch(() => {});
});
setInterval(() => {
  if (document.hidden) return;
  for (const row of rows.values()) row.tick();
}, 1000);

// For screen readers: one message for all that happens within a second.
function announce(breaker, transition) {
  const why = REASONS[transition.reason] ?? transition.reason;
  announced.push(`${visible(breaker.name)} is ${(STATES[transition.to] ?? UNKNOWN).word}: ${why}`);
  if (announced.length > 1) return;
  setTimeout(() => {
    const last = announced.at(-1);
    const more = announced.length > 1 ? ` And ${announced.length - 1} other changes.` : "";
    $("announce").textContent = `${last}.${more}`;
    announced = [];
  }, 1000);
}

// ---- changes ----

const dialog = $("dialog");
const fields = { note: $("note"), by: $("by"), token: $("token") };
let subject = null;

const hasTime = (action) => action !== "reset" && action !== "trip";
const chosen = () => dialog.querySelector("[name=action]:checked").value;

function showChoice() {
  const action = chosen();
  $("for-field").hidden = !hasTime(action);
  const word = dialog.querySelector("[name=action]:checked + span b").textContent;
  setText($("confirm"), word);
  $("confirm").classList.toggle("danger", action === "force-open" || action === "trip");
}

function remembered(name) {
  try {
    return localStorage.getItem(name) ?? "";
  } catch {
    return ""; // Storage is off.
  }
}

function openDialog(row) {
  subject = row;
  const { breaker } = row;
  setText($("dialog-name"), visible(breaker.name));
  setText($("dialog-now"), [`Now ${stateOf(breaker).word.toLowerCase()}`, said(breaker)].filter(Boolean).join(", "));
  const action = breaker.state === "closed" ? "force-open" : "reset";
  dialog.querySelector(`[value=${action}]`).checked = true;
  $("for").value = "30m";
  fields.note.value = "";
  fields.by.value ||= remembered("tower-breaker-by");
  fields.token.value = token;
  $("token-field").hidden = access !== "token";
  showError("");
  showChoice();
  dialog.showModal();
  dialog.querySelector("[name=action]:checked").focus();
}

function showError(text, field) {
  setText($("dialog-error"), text);
  for (const input of Object.values(fields)) {
    input.setAttribute("aria-invalid", String(input === field));
  }
  field?.focus();
}

async function confirmChange() {
  const missing = [[fields.note, "Say why."], [fields.by, "Say who you are."]];
  if (access === "token") missing.push([fields.token, "A change needs the token."]);
  for (const [field, text] of missing) {
    if (!field.value.trim()) return showError(text, field);
  }
  const action = chosen();
  const body = { note: fields.note.value.trim(), by: fields.by.value.trim() };
  if (hasTime(action) && $("for").value) body.for = $("for").value;
  const headers = { "content-type": "application/json" };
  if (access === "token") headers.authorization = `Bearer ${fields.token.value.trim()}`;
  $("confirm").disabled = true;
  try {
    const path = `${base}breakers/${subject.breaker.id}/${action}`;
    const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
    const answer = await response.json();
    if (!response.ok) {
      return showError(`Not changed: ${answer.detail}.`, response.status === 401 ? fields.token : undefined);
    }
    token = fields.token.value.trim();
    try {
      localStorage.setItem("tower-breaker-by", body.by);
    } catch { /* Storage is off. */ }
    put(answer.breaker, answer.now);
    arrangeSoon();
    dialog.close();
    subject.parts.change.focus({ preventScroll: true });
  } catch {
    showError("The service does not answer. Whether anything changed is not known.");
  } finally {
    $("confirm").disabled = false;
  }
}

for (const radio of dialog.querySelectorAll("[name=action]")) {
  radio.addEventListener("change", showChoice);
}
$("cancel").addEventListener("click", () => dialog.close());
dialog.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  confirmChange();
});

connect();
