// Keeps a page fresh: fetches it again and changes what differs. Links and forms of the table work without
// a reload. Without this script the page still works.
"use strict";

const PERIOD_MS = 5000;
const PATIENCE_MS = 4000;
const TYPING_MS = 250;

const lost = document.getElementById("unreachable");
const pause = document.getElementById("pause");
let heard = new Date();
let turn = 0;
let timer;
let typing;

// Makes `old` like `fresh` and keeps every node that can stay, with its focus, scroll and selection.
// Children with data-key are found again wherever they went; with `still`, what has data-still stays as it is.
function morph(old, fresh, still) {
  if (old.isEqualNode(fresh) || (still && "still" in old.dataset)) return;
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const keyed = new Map();
  for (const child of old.children) if (child.dataset.key) keyed.set(child.dataset.key, child);
  let next = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const key = child.dataset?.key;
    const found = key ? keyed.get(key) : alike(next, child) ? next : null;
    if (key) keyed.delete(key);
    if (found === next && next) next = next.nextSibling;
    else old.insertBefore(found ?? child, next);
    if (!found) continue;
    if (found.nodeType === Node.ELEMENT_NODE) morph(found, child, still);
    else if (found.data !== child.data) found.data = child.data;
  }
  while (next) {
    const gone = next;
    next = next.nextSibling;
    gone.remove();
  }
}

function alike(node, other) {
  return node && node.nodeName === other.nodeName && !node.dataset?.key;
}

function show(text, still) {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  const focused = document.activeElement;
  document.title = fresh.title;
  for (const old of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(old.id);
    if (other) morph(old, other, still);
  }
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

// As the server writes times, whose zone is not always that of who looks.
function moment(at) {
  return at.toISOString().replace(/T(.*)\..*/, " $1 UTC");
}

// Asks for the page at the present address; of several answers the one that was asked for last counts.
async function refresh(still) {
  clearTimeout(timer);
  const mine = ++turn;
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok && answer.status !== 404) throw new Error(`status ${answer.status}`);
    const text = await answer.text();
    if (mine !== turn) return;
    show(text, still);
    heard = new Date();
    lost.hidden = true;
  } catch {
    if (mine !== turn) return;
    const words = `The server has not answered since ${moment(heard)}. This is the last it said.`;
    if (lost.textContent !== words) lost.textContent = words;
    lost.hidden = false;
  }
  wait();
}

function wait() {
  clearTimeout(timer);
  if (!document.hidden && pause.getAttribute("aria-pressed") !== "true") {
    timer = setTimeout(refresh, PERIOD_MS, true);
  }
}

// Another view of the same page: shown at once, and in the browser's history.
async function view(query, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", query || location.pathname);
  await refresh(replace);
  if (!replace) document.querySelector("form[data-still]")?.reset();
}

function asked(form) {
  const given = [...new FormData(form)].filter(([, value]) => value.trim());
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("#live a[href^='?']");
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  const top = "top" in link.dataset;
  view(link.getAttribute("href")).then(() => {
    if (top) document.getElementById("squids").scrollIntoView();
  });
});

document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-still]")) return;
  event.preventDefault();
  view(asked(event.target));
});

document.addEventListener("input", (event) => {
  const form = event.target.closest("form[data-still]");
  if (!form) return;
  clearTimeout(typing);
  const still = event.target.matches("input");
  typing = setTimeout(() => view(asked(form), { replace: still }), still ? TYPING_MS : 0);
});

addEventListener("popstate", async () => {
  await refresh(false);
  document.querySelector("form[data-still]")?.reset();
});

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden && pause.getAttribute("aria-pressed") !== "true") refresh(true);
});

pause.hidden = false;
pause.addEventListener("click", () => {
  const paused = pause.getAttribute("aria-pressed") !== "true";
  pause.setAttribute("aria-pressed", paused);
  pause.textContent = paused ? "Paused" : "Pause";
  if (paused) clearTimeout(timer);
  else refresh(true);
});
wait();
