// Keeps the page fresh: fetches itself and exchanges the live part. Without this script the page still works.
"use strict";

const PERIOD_MS = 5000;

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.title = fresh.title;
    document.getElementById("live").replaceWith(document.adoptNode(fresh.getElementById("live")));
    document.body.classList.remove("unreachable");
  } catch {
    document.body.classList.add("unreachable");
  }
}

setInterval(refresh, PERIOD_MS);
