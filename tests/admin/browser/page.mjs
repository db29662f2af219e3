// Checks the operators' page in Chromium. `tests/admin/page.rs` serves it, and starts this script.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const { PAGE_URL, CONTROL_URL, TOKEN, FLEET, TOWER_BREAKER_SCREENSHOTS: screenshots } = process.env;
const axePath = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const axeSource = readFileSync(axePath, "utf8");
const PATIENCE = 60_000;

const asRoot = process.getuid?.() === 0;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  // Nothing but the server of the test is asked: names of other hosts are not resolved.
  args: [
    "--host-resolver-rules=MAP evil.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE localhost, "
      + "EXCLUDE 127.0.0.1",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    ...(asRoot ? ["--no-sandbox"] : []),
  ],
  timeout: PATIENCE,
});

async function control(act, name) {
  const order = { method: "POST", headers: { "content-type": "application/json" } };
  const response = await fetch(CONTROL_URL, { ...order, body: JSON.stringify({ act, name }) });
  assert.ok(response.ok, `${act} ${name}: ${response.status}`);
}

// Opens a page; what it logs as an error, and what it asks of other servers, is a fault.
async function open(path = "/admin", options = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 900 }, ...options });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(`error: ${error}`));
  page.on("console", (message) => {
    if (message.type() === "error" && !page.expectsNetworkErrors) page.faults.push(message.text());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(PAGE_URL)) page.faults.push(`request to ${request.url()}`);
  });
  page.on("dialog", (dialog) => {
    page.faults.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.goto(PAGE_URL + path);
  await page.locator("#connection[data-state=live]").waitFor();
  return page;
}

async function close(page) {
  assert.deepEqual(page.faults, []);
  await page.context().close();
}

const row = (page, name) =>
  page.locator(".row").filter({ has: page.getByRole("heading", { name, exact: true }) });
const word = (page, name) => row(page, name).locator(".word");
const until = (locator, text) => locator.filter({ hasText: text }).first().waitFor();

async function fill(page, { action, note, by, token }) {
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  if (action) await dialog.getByRole("radio", { name: action }).check();
  await dialog.getByLabel("Note").fill(note);
  if (by !== undefined) await dialog.getByLabel("Your name").fill(by);
  if (token !== undefined) await dialog.getByLabel("Token").fill(token);
}

const checks = {
  async "every breaker is a row with its state as a word, and the page is live"() {
    for (const path of ["/admin", "/admin/"]) {
      const page = await open(path);
      assert.equal(await page.locator(".row").count(), 11);
      for (const [name, state] of [
        ["payments", "Closed"], ["search", "Open"], ["inventory", "Open"], ["geo", "Disabled"],
        ["fraud-scores", "Forced open"], ["recommendations", "Metrics only"],
      ]) {
        assert.equal(await word(page, name).textContent(), state, name);
      }
      // Who forced it, why, and until when.
      const forced = row(page, "fraud-scores");
      assert.match(await forced.locator(".note").textContent(), /^on-call: Wrong scores/);
      assert.match(await forced.locator(".until").textContent(), /in 59 min|in 1 h 0 min/);
      assert.match(await row(page, "mail").locator(".ratio").textContent(), /^14% 7\/50$/);
      const ratio = row(page, "inventory").locator(".ratio");
      assert.match(await ratio.textContent(), /^5 of 5 in a row$/);
      assert.equal(await page.title(), "(3 open) Circuit breakers");
      await close(page);
    }
  },

  async "a trip shows at once, with why, since, and a countdown"() {
    const page = await open();
    assert.equal(await word(page, "payments").textContent(), "Closed");
    await control("trip", "payments");
    await until(word(page, "payments"), "Open");
    await until(row(page, "payments").locator(".reason"), "By hand");
    await until(row(page, "payments").locator(".since time"), /\d s ago/);
    await until(row(page, "payments").locator(".until time"), /in 4 min \d+ s/);
    const first = await row(page, "payments").locator(".until time").textContent();
    await page.waitForFunction((first) => {
      const times = [...document.querySelectorAll(".row[data-state=open] .until time")];
      return times.length && !times.some((time) => time.textContent === first);
    }, first);
    // A screen reader hears of it.
    await until(page.locator("#announce"), "payments is Open: By hand");
    // The most urgent ones are on top.
    const names = await page.locator(".row .name h2 bdi").allTextContents();
    assert.deepEqual(names.slice(0, 3), ["inventory", "payments", "search"]);
    await control("reset", "payments");
    await until(word(page, "payments"), "Closed");
    await close(page);
  },

  async "an answer that arrives after a later event does not undo it"() {
    const page = await open();
    await page.evaluate(() => {
      const isPayments = (row) => row.querySelector("h2").textContent === "payments";
      const row = [...document.querySelectorAll(".row")].find(isPayments);
      window.words = [];
      new MutationObserver(() => window.words.push(row.querySelector(".word").textContent))
        .observe(row, { subtree: true, childList: true, characterData: true });
    });
    let held;
    const arrived = new Promise((resolve) => {
      page.route(/\/breakers\?/, async (route) => {
        if (held) return route.continue();
        held = await route.fetch();
        await control("trip", "payments");
        await until(word(page, "payments"), "Open");
        await route.fulfill({ response: held });
        resolve();
      });
    });
    await arrived;
    await page.waitForResponse(/\/breakers\?/);
    await until(word(page, "payments"), "Open");
    const words = await page.evaluate(() => window.words);
    assert.ok(!words.slice(words.indexOf("Open")).includes("Closed"), words.join());
    await page.unrouteAll({ behavior: "ignoreErrors" });
    await control("reset", "payments");
    await until(word(page, "payments"), "Closed");
    await close(page);
  },

  async "names are text, whatever they hold"() {
    const page = await open();
    const names = ["<img src=x onerror=alert(1)>", "../x y/é", "line\\u{a}break\\u{202e}drow"];
    for (const name of names) {
      await row(page, name).getByRole("button", { name: "Change" }).click();
      await fill(page, { action: "Force open", note: `<b>${name}</b>`, by: "<i>eve</i>", token: TOKEN });
      await page.getByRole("dialog").getByRole("button", { name: "Force open" }).click();
      await until(word(page, name), "Forced open");
      assert.equal(await row(page, name).locator(".note").textContent(), `<i>eve</i>: <b>${name}</b>`);
      await row(page, name).getByRole("button", { name: "History" }).click();
      await until(row(page, name).locator(".history li"), "<i>eve</i>");
    }
    assert.equal(await page.locator("main img, main b, main i").count(), 0);
    for (const name of ["<img src=x onerror=alert(1)>", "../x y/é", "line\nbreak\u202edrow"]) {
      await control("reset", name);
    }
    await close(page);
  },

  async "a circuit is forced open with a note, and reset"() {
    const page = await open();
    await row(page, "mail").getByRole("button", { name: "Change mail" }).click();
    const dialog = page.getByRole("dialog");
    const alert = dialog.getByRole("alert");
    const confirm = dialog.getByRole("button", { name: "Force open" });
    await confirm.click();
    await until(alert, "Say why.");
    await fill(page, { note: "Bounces, INC-12", by: "Second-line" });
    await confirm.click();
    await until(alert, "A change needs the token.");
    page.expectsNetworkErrors = true; // Chromium logs each 401.
    await fill(page, { note: "Bounces, INC-12", token: "wrong" });
    await confirm.click();
    await until(alert, "the token is wrong");
    await control("state", "mail");
    await fill(page, { note: "Bounces, INC-12", token: TOKEN });
    await dialog.getByLabel("For", { exact: true }).selectOption("10 minutes");
    await confirm.click();
    await dialog.waitFor({ state: "hidden" });
    await until(word(page, "mail"), "Forced open");
    await until(row(page, "mail").locator(".note"), "Second-line: Bounces, INC-12");
    await until(row(page, "mail").locator(".until time"), /in 9 min|in 10 min/);
    // The next change has the name and the token, and begins with a reset.
    await row(page, "mail").getByRole("button", { name: "Change mail" }).click();
    assert.equal(await dialog.getByLabel("Your name").inputValue(), "Second-line");
    assert.equal(await dialog.getByLabel("For", { exact: true }).isVisible(), false);
    await fill(page, { note: "Fixed" });
    await dialog.getByRole("button", { name: "Reset" }).click();
    await until(word(page, "mail"), "Closed");
    await control("state", "mail");
    await until(row(page, "mail").locator(".note"), "Second-line: Fixed");
    await close(page);
  },

  async "the history is shown on demand"() {
    const page = await open();
    const item = row(page, "geo");
    const button = item.getByRole("button", { name: "History of geo" });
    assert.equal(await button.getAttribute("aria-expanded"), "false");
    for (let n = 0; n < 25; n += 1) {
      await control("reset", "geo");
      // What comes faster than the store writes would be counted as missed.
      await control("flush", "geo");
    }
    await button.click();
    await until(item.locator(".history li"), "Reset by hand");
    assert.equal(await item.locator(".history li").count(), 20);
    await item.getByRole("button", { name: "Older" }).click();
    await until(item.locator(".history li"), "on-call: Load test");
    assert.equal(await item.locator(".history li").count(), 26);
    assert.equal(await item.getByRole("button", { name: "Older" }).count(), 0);
    await button.click();
    assert.equal(await item.locator(".history").isVisible(), false);
    await close(page);
  },

  async "the list is filtered, searched and sorted"() {
    const page = await open();
    const names = () => page.locator(".row:visible .name h2 bdi").allTextContents();
    await page.getByRole("button", { name: /^Open/ }).click();
    assert.deepEqual(await names(), ["inventory", "search", "fraud-scores"]);
    await page.getByRole("button", { name: /^By hand/ }).click();
    assert.deepEqual(await names(), ["fraud-scores", "recommendations"]);
    await page.getByRole("button", { name: /^All/ }).click();
    await page.getByRole("searchbox").fill("On-Call");
    await page.waitForFunction(() => document.querySelectorAll(".row:not([hidden])").length === 2);
    await page.getByRole("searchbox").fill("nothing is named like this");
    await page.getByText("No circuit breaker matches.").waitFor();
    await page.getByRole("searchbox").fill("");
    await page.getByLabel("Sort by").selectOption("Name");
    const sorted = (await names()).slice(-3);
    assert.deepEqual(sorted, ["payments", "recommendations", "search"]);
    await page.getByLabel("Sort by").selectOption("Failures");
    assert.equal((await names())[0], "inventory");
    await close(page);
  },

  async "the keyboard alone is enough"() {
    const page = await open();
    const press = (key) => page.keyboard.press(key);
    await press("/");
    assert.equal(await page.evaluate(() => document.activeElement.id), "search");
    await page.keyboard.type("checkout");
    await page.waitForFunction(() => document.querySelectorAll(".row:not([hidden])").length === 1);
    await press("Tab"); // the order
    await press("Tab"); // the history
    const focused = await page.evaluate(() => document.activeElement.ariaLabel);
    assert.equal(focused, "History of checkout");
    await press("Enter");
    await page.locator(".history ol, .history p").first().waitFor();
    await press("Tab");
    await press("Enter");
    const dialog = page.getByRole("dialog");
    await dialog.waitFor();
    // Escape changes nothing.
    await press("Escape");
    await dialog.waitFor({ state: "hidden" });
    assert.equal(await page.evaluate(() => document.activeElement.ariaLabel), "Change checkout");
    await press("Enter");
    await dialog.waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.value), "force-open");
    await press("ArrowDown"); // disable
    await press("Tab"); // the time
    await press("Tab");
    await page.keyboard.type("By keyboard");
    await press("Tab");
    await page.keyboard.type("Carla");
    await press("Tab");
    await page.keyboard.type(TOKEN);
    await press("Enter");
    await until(word(page, "checkout"), "Disabled");
    await until(row(page, "checkout").locator(".note"), "Carla: By keyboard");
    await dialog.waitFor({ state: "hidden" });
    assert.equal(await page.evaluate(() => document.activeElement.ariaLabel), "Change checkout");
    await control("reset", "checkout");
    await close(page);
  },

  async "a lost connection is shown, and so is its return"() {
    const page = await open();
    page.expectsNetworkErrors = true;
    await control("stop");
    const lost = { hasText: /^Connection lost at .* out of date/ };
    await page.getByRole("alert").filter(lost).waitFor();
    await until(page.locator("#connection"), "Connection lost");
    await control("trip", "mail"); // unheard
    await control("start");
    await page.getByRole("alert").filter({ hasText: "The connection is back." }).waitFor();
    await until(page.locator("#connection"), "Live");
    await until(word(page, "mail"), "Open");
    await control("reset", "mail");
    await until(word(page, "mail"), "Closed");
    await close(page);
  },

  async "a thousand breakers: an event changes one row"() {
    const page = await open("/many");
    assert.equal(await page.locator(".row").count(), 1000);
    await page.getByLabel("Sort by").selectOption("Name");
    await page.evaluate(() => {
      window.touched = new Set();
      new MutationObserver((changes) => {
        for (const { target } of changes) {
          const row = (target.closest ? target : target.parentElement).closest(".row");
          if (row) window.touched.add(row.dataset.id);
        }
      }).observe(document.getElementById("list"), {
        subtree: true, childList: true, characterData: true,
      });
    });
    await control("trip", "host-0777.example");
    await page.locator(".row[data-state=open]").waitFor({ state: "attached" });
    assert.equal(await page.evaluate(() => window.touched.size), 1);
    // Rows that are out of sight are neither laid out nor drawn.
    const drawn = await page.evaluate(() => document.querySelectorAll(".curve[d]").length);
    assert.ok(drawn < 100, `${drawn} lines are drawn`);
    await page.getByRole("searchbox").fill("host-0999");
    await page.waitForFunction(() => document.querySelectorAll(".row:not([hidden])").length === 1);
    await control("reset", "host-0777.example");
    await close(page);
  },

  async "groups are named and chosen, and what is not listed is found by its name"() {
    const page = await open("/keyed");
    const rows = (count) =>
      page.waitForFunction(
        (count) => document.querySelectorAll(".row:not([hidden])").length === count,
        count,
      );
    await rows(1000);
    // What is open is listed, whatever its name.
    for (const name of ["<b>upstream:host-1234.example", "<b>upstream:host-1499.example"]) {
      assert.equal(await word(page, name).textContent(), "Open");
      assert.equal(await row(page, name).locator(".in-group bdi").textContent(), "<b>upstream");
    }
    await page.getByText(/^511 more are not listed/).waitFor();
    await page.getByText("1000 of 1511 shown").waitFor();
    await page.getByRole("searchbox").fill("host-1498");
    await rows(1);
    await page.getByRole("searchbox").fill("");
    await rows(1000);
    await page.getByLabel("Group").selectOption("None");
    await rows(11);
    assert.equal(await page.locator("#group-stats").isVisible(), false);
    await page.getByLabel("Group").selectOption("<b>upstream");
    await page.getByText("1,500 of at most 10,000 breakers.").waitFor();
    await page.getByText(/^500 more are not listed/).waitFor();
    // An event of another group adds no row.
    await control("reset", "payments");
    await page.waitForTimeout(300);
    assert.equal(await page.locator(".row").count(), 1000);
    const tripped = row(page, "<b>upstream:host-0000.example");
    await tripped.getByRole("button", { name: "Change" }).click();
    await fill(page, { action: "Trip", note: "INC-7", by: "on-call", token: TOKEN });
    const time = page.getByRole("dialog").getByLabel("For", { exact: true });
    assert.equal(await time.isVisible(), false);
    await page.getByRole("dialog").getByRole("button", { name: "Trip" }).click();
    await until(word(page, "<b>upstream:host-0000.example"), "Open");
    await until(tripped.locator(".note"), "on-call: INC-7");
    await close(page);
  },

  async "what each replica of a fleet says is shown on demand"() {
    if (!FLEET) return; // There is no redis-server.
    const page = await open("/fleet");
    const item = row(page, "payments");
    assert.equal(await item.locator(".replicas").isVisible(), false);
    await item.getByRole("button", { name: "History of payments" }).click();
    const replicas = item.locator(".replicas li");
    // A replica may not have answered in time.
    const asked = async () => {
      await replicas.nth(1).waitFor();
      return (await replicas.allTextContents()).map((text) => text.trim());
    };
    for (let n = 0; (await asked()).some((text) => text.includes("No answer")); n += 1) {
      assert.ok(n < 30, "the replicas answer");
      await item.getByRole("button", { name: "Ask again" }).click();
      await page.waitForTimeout(500);
    }
    const [second, first] = await asked();
    assert.match(second, /^<i>second.*Open.*its own state/);
    assert.match(first, /^first.*Closed.*0 failures in a row/);
    assert.equal(await word(page, "payments").textContent(), "Closed");
    await item.getByRole("button", { name: "History of payments" }).click();
    assert.equal(await item.locator(".replicas").isVisible(), false);
    await close(page);
  },

  async "a host name that points here reads nothing"() {
    const context = await browser.newContext({ bypassCSP: true });
    const page = await context.newPage();
    const port = new URL(PAGE_URL).port;
    for (const [host, status] of [["evil.example", 421], ["localhost", 200]]) {
      const response = await page.goto(`http://${host}:${port}/admin/breakers`);
      assert.equal(response.status(), status, host);
    }
    // Nor by a script that sets the header by which browsers are known.
    await page.goto(`http://evil.example:${port}/admin`);
    const statuses = await page.evaluate(async () => {
      const ask = async (options) => (await fetch("/admin/breakers", options)).status;
      return [
        await ask({}),
        await ask({ headers: { "accept-language": "" } }),
        await ask({ headers: { "sec-fetch-site": "none", "user-agent": "x" } }),
      ];
    });
    assert.deepEqual(statuses, [421, 421, 421]);
    await context.close();
  },

  async "axe finds nothing serious, in both themes, on desktop and phone"() {
    for (const colorScheme of ["light", "dark"]) {
      for (const viewport of [{ width: 1360, height: 900 }, { width: 390, height: 844 }]) {
        const options = { colorScheme, viewport, bypassCSP: true, reducedMotion: "reduce" };
        const page = await open("/grouped", options);
        await page.evaluate(axeSource);
        await row(page, "search").getByRole("button", { name: "History" }).click();
        await row(page, "search").locator(".history li").first().waitFor();
        const look = async (what) => {
          const { violations } = await page.evaluate(() => window.axe.run(document));
          const isSerious = ({ impact }) => impact === "serious" || impact === "critical";
          const serious = violations.filter(isSerious);
          const faults = serious.map(({ id, nodes }) => `${id}: ${nodes[0].html} ${nodes[0].failureSummary}`);
          assert.deepEqual(faults, [], `${what}, ${colorScheme}, ${viewport.width}`);
          // A page for a phone does not scroll sideways.
          const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          assert.ok(wide <= 0, `${what}: ${wide} pixels too wide at ${viewport.width}`);
        };
        await look("the list");
        const search = await page.getByRole("searchbox").boundingBox();
        assert.ok(search.width >= 180, `the search has ${search.width} pixels at ${viewport.width}`);
        await page.getByLabel("Group").selectOption("tenants");
        await page.getByText(/^1 of at most 10,000 breakers/).waitFor();
        await look("a group");
        await page.getByLabel("Group").selectOption("All");
        await row(page, "mail").waitFor();
        await row(page, "mail").getByRole("button", { name: "Change mail" }).click();
        await look("the dialog");
        await close(page);
      }
    }
  },

  async "a read-only service has no buttons for changes, and no request leaves the server"() {
    const page = await open("/read-only");
    assert.equal(await page.getByRole("button", { name: /^Change/ }).count(), 0);
    assert.equal(await page.getByRole("button", { name: /^History/ }).count(), 11);
    await page.getByText("11 of 11 shown, read-only").waitFor();
    await close(page);
  },
};

async function takeScreenshots() {
  await control("trip", "payments");
  for (const colorScheme of ["light", "dark"]) {
    const viewports = {
      desktop: { width: 1360, height: 860 },
      phone: { width: 390, height: 844 },
    };
    for (const [device, viewport] of Object.entries(viewports)) {
      const deviceScaleFactor = device === "phone" ? 2 : 1;
      const page = await open("/grouped", { colorScheme, viewport, deviceScaleFactor });
      for (let n = 0; n < 14; n += 1) {
        const calls = { 3: 4, 5: 2, 8: 2 }[n] ?? 0;
        for (let call = 0; call < calls; call += 1) await control("fail", "checkout");
        for (let call = 0; n > 8 && call < 4; call += 1) await control("succeed", "checkout");
        await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
        await page.waitForTimeout(100);
      }
      await page.screenshot({ path: `${screenshots}/admin-${device}-${colorScheme}.png` });
      await row(page, "search").getByRole("button", { name: "Change search" }).click();
      const note = "Times out behind the new proxy, INC-4712";
      await fill(page, { action: "Force open", note, by: "on-call" });
      await page.screenshot({ path: `${screenshots}/admin-dialog-${device}-${colorScheme}.png` });
      await page.keyboard.press("Escape");
      await row(page, "search").getByRole("button", { name: "History" }).click();
      await row(page, "search").locator(".history li").first().waitFor();
      await page.screenshot({ path: `${screenshots}/admin-history-${device}-${colorScheme}.png` });
      await page.context().close();
    }
  }
  await control("reset", "payments");
}

try {
  if (screenshots) await takeScreenshots();
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
      console.log(`ok: ${name}`);
    } catch (error) {
      console.error(`failed: ${name}\n${error.stack}`);
      process.exitCode = 1;
    }
  }
} finally {
  await browser.close();
}
