// The page in a real browser: node browser.cjs ADDRESS, with playwright-core in NODE_PATH and Chromium at CAUSERIE_CHROMIUM.
//
// What has to happen on the server meanwhile is asked for on stdout ("ask …") and confirmed on stdin. The first line of stdin says
// what there is. CAUSERIE_SCREENSHOTS names a folder for pictures.
"use strict";
const assert = require("node:assert");
const readline = require("node:readline");
const { chromium } = require("playwright-core");

const address = process.argv[2];
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const line = async () => (await lines.next()).value;
const ask = async (what) => {
  console.log(`ask ${what}`);
  return line();
};
let passed = 0;
const check = (what, found, expected) => {
  assert.deepStrictEqual(found, expected, what);
  console.log(`ok: ${what}`);
  passed += 1;
};
const picture = async (page, name) => {
  const folder = process.env.CAUSERIE_SCREENSHOTS;
  if (folder) await page.screenshot({ path: `${folder}/${name}.png` });
};

async function run(page, there) {
  const complaints = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("dialog", (dialog) => complaints.push(`a dialog: ${dialog.message()}`));
  const outside = [];
  page.on("request", (request) => new URL(request.url()).host === address || outside.push(request.url()));
  const texts = (selector) => page.locator(selector).allInnerTexts();
  const shows = (selector, text) => page.locator(selector).filter({ hasText: text }).first().waitFor();

  await page.goto(`http://${address}/`);
  await shows("#watching", "live");
  await page.waitForFunction((count) => document.querySelectorAll("#conversations .title").length === count, there.heads);
  await page.waitForFunction(() => [...document.querySelectorAll("#conversations .title")].every((title) => title.textContent !== "…"));
  check("the newest head comes first", (await texts("#conversations .title")).map((title) => title.slice(0, 24)), there.titles);

  await page.locator(`#conversations a[href="#/c/${there.branch}"]`).click();
  await shows(".tree a[aria-current]", "Turn 2");
  check("the tree forks", await texts(".tree .fork"), ["Branch 1", "Branch 2"]);
  check("the tree has every version", await page.locator(".tree a").count(), 3);
  check("texts are texts, whatever they look like", await page.locator(".history .text").allTextContents(), there.history);
  check("no text became an element", await page.locator(".history :is(img, script, b, iframe, a)").count(), 0);
  check("no text was run", await page.evaluate(() => [document.title, window.owned]), ["causerie", undefined]);
  await picture(page, "conversation-light");
  await page.emulateMedia({ colorScheme: "dark" });
  await picture(page, "conversation-dark");
  await page.emulateMedia({ colorScheme: "light" });
  await page.locator(".tree a", { hasText: "Turn 1" }).first().click();
  await page.waitForFunction(() => document.querySelectorAll(".history .text").length === 2);
  check("an older version has its own history", await page.locator(".history .text").allTextContents(), there.history.slice(0, 2));

  await page.locator("#turn-id").fill(there.turn);
  await page.locator("#turn-id").press("Enter");
  await shows(".head .lamp", "live");
  const said = () => page.locator(".entry.open .text").allTextContents();
  const comes = (text) => page.waitForFunction((text) => [...document.querySelectorAll(".entry .text")].some((said) => said.textContent === text), text);
  let text = "";
  for (const word of there.words.slice(0, 4)) {
    await ask("word");
    text += word;
    await comes(text);
  }
  check("a turn is shown while it is written", await said(), [text]);
  await picture(page, "turn-live");
  await ask("cut");
  await shows(".head .lamp", "connecting again");
  for (const word of there.words.slice(4, 6)) {
    await ask("word");
    text += word;
  }
  await comes(text);
  check("after a cut it goes on where it was", await said(), [text]);
  await ask("end");
  await shows(".head .lamp", "ended");
  text = there.words.join("");
  check("it ends once and whole", (await page.locator(".entry .text").allTextContents()).at(-1), text);
  check("each event came once", await texts(".log .id"), there.words.map((_, i) => i + 1).concat([1, 2, 3].map((more) => there.words.length + more)).map(String));
  check("its state is shown", await texts(".head .badge"), ["completed"]);
  await picture(page, "turn-ended");
  await shows("#conversations .title", there.asked);
  check("what ended stands in the list by itself", (await texts("#conversations .title"))[0], there.asked);
  await page.locator(".head .button").click();
  await shows(".head .button", "Replay its last turn");
  await page.setViewportSize({ width: 400, height: 860 });
  await picture(page, "conversation-narrow");

  await page.goto(`http://${address}/#/t/turn_01919d3c2f5b7c3e8f00112233445566`);
  await shows(".history .error", "turn");
  check("what cannot be followed is told", await texts(".head .lamp"), ["ended"]);
  check("nothing came from elsewhere", outside, []);
  // Cuts and refusals are for the network's log; anything else is a fault.
  const expected = /net::ERR_|status of 404/;
  check("nothing was complained of", complaints.filter((text) => !expected.test(text)), []);
}

(async () => {
  const there = JSON.parse(await line());
  const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  const browser = await chromium.launch({ executablePath: process.env.CAUSERIE_CHROMIUM, args });
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
    page.setDefaultTimeout(15000);
    await run(page, there);
  } finally {
    await browser.close();
  }
  console.log(`${passed} passed, 0 failed`);
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
