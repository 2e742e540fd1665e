// Keeps the page fresh: fetches itself and exchanges the live part. Without this script the page still works.
"use strict";

const PERIOD_MS = 5000;
const PATIENCE_MS = 4000;

function links() {
  return [...document.querySelectorAll("#live a")];
}

function show(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  const scrolled = document.querySelector("#live .table").scrollLeft;
  const focused = links().indexOf(document.activeElement);
  document.title = fresh.title;
  document.getElementById("live").replaceWith(document.adoptNode(fresh.getElementById("live")));
  document.querySelector("#live .table").scrollLeft = scrolled;
  links()[focused]?.focus({ preventScroll: true });
}

async function refresh() {
  if (document.hidden) return;
  const lost = document.getElementById("unreachable");
  try {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(await answer.text());
    lost.hidden = true;
  } catch {
    lost.hidden = false;
  }
}

async function live() {
  await refresh();
  setTimeout(live, PERIOD_MS);
}

setTimeout(live, PERIOD_MS);
document.addEventListener("visibilitychange", refresh);
