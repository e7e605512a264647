// What a page gains when scripts run: it follows what happens. Everything else works without.
// Output of builds is hostile: it reaches the page as text (`textContent`), never as HTML.

const MOST_LINES = 20000; // kept in the page; the plain text has all
const BLOCK = 200; // lines that the browser may skip together while they are out of sight
const EVERY = 3000; // milliseconds between looks at a page that has no stream

let stream = null;
let asking = false;

function lineElement(number, text) {
  const line = document.createElement("div");
  line.className = "line";
  line.id = `L${number}`;
  const link = document.createElement("a");
  link.href = `#L${number}`;
  link.textContent = number;
  link.setAttribute("aria-label", `Line ${number}`);
  const code = document.createElement("code");
  code.textContent = text;
  line.append(link, code);
  return line;
}

function append(log, lines) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  let block = log.lastElementChild;
  let next = Number(log.dataset.next);
  for (const text of lines) {
    if (!block?.classList.contains("block") || block.childElementCount >= BLOCK) {
      block = document.createElement("div");
      block.className = "block";
      log.append(block);
    }
    block.append(lineElement(next, text));
    next += 1;
  }
  log.dataset.next = next;
  log.querySelector(":scope > .gap:not(:has(a))")?.remove();
  while (log.querySelectorAll(":scope > .block").length > MOST_LINES / BLOCK) {
    log.querySelector(":scope > .block").remove();
  }
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function follow() {
  const log = document.querySelector("[data-events]");
  if (!log || stream || document.hidden) return;
  stream = new EventSource(`${log.dataset.events}?from=${log.dataset.from}`);
  stream.addEventListener("lines", (message) => {
    log.dataset.from = message.lastEventId;
    append(log, message.data.split("\n"));
  });
  stream.addEventListener("changed", refresh);
  stream.addEventListener("end", () => {
    leave();
    log.removeAttribute("data-events");
    refresh();
  });
  stream.addEventListener("error", () => {
    if (stream?.readyState === EventSource.CLOSED) leave();
  });
}

function leave() {
  stream?.close();
  stream = null;
}

// The same page again from the server: one template makes the first view and every later one.
async function refresh() {
  const main = document.querySelector("main[data-live]");
  if (!main || asking || document.hidden) return;
  asking = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) return;
    show(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    // The server is away for a moment; the next look will tell.
  } finally {
    asking = false;
  }
}

function show(fresh) {
  const main = document.querySelector("main");
  document.title = fresh.title;
  document.querySelector("link[rel=icon]").href = fresh.querySelector("link[rel=icon]").href;
  swap("notices", fresh);
  swap("fresh", fresh);
  swap("more", fresh);
  const old = document.getElementById("output");
  const now = fresh.getElementById("output");
  if (!old && now) {
    document.getElementById("more").after(now);
  } else if (old && now && old.dataset.step !== now.dataset.step) {
    const [before, after] = [old.dataset.step, now.dataset.step].map(stepOf);
    if (before === after) {
      old.dataset.step = now.dataset.step;
      swap("output-head", fresh);
    } else {
      leave();
      old.replaceWith(now);
      toEnd();
    }
  }
  if (!fresh.querySelector("main[data-live]")) main.removeAttribute("data-live");
  offerCopies();
  follow();
}

const stepOf = (name) => name.slice(0, name.lastIndexOf("/"));

function swap(id, fresh) {
  const [old, now] = [document.getElementById(id), fresh.getElementById(id)];
  if (old && now) keepOpen(old, now);
  if (old && now && old.innerHTML !== now.innerHTML) old.replaceWith(now);
}

// What somebody has opened or closed stays so.
function keepOpen(old, now) {
  const name = (details) => details.firstElementChild.textContent;
  const open = new Map([...old.querySelectorAll("details")].map((one) => [name(one), one.open]));
  for (const one of now.querySelectorAll("details")) one.open = open.get(name(one)) ?? one.open;
}

function toEnd() {
  if (location.hash.startsWith("#L")) return;
  for (const log of document.querySelectorAll("#output:not(.whole) .log")) log.scrollTop = log.scrollHeight;
}

function offerCopies() {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("[data-copy][hidden]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.previousElementSibling.textContent);
      button.textContent = "Copied";
    });
  }
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    leave();
  } else {
    refresh().then(follow);
  }
});
setInterval(() => {
  if (!stream) refresh();
}, EVERY);
toEnd();
offerCopies();
follow();
