// Puts newer numbers in the place of those on the page, where somebody looks at it.
"use strict";

const EVERY_MS = 5000;

async function renew() {
  if (document.hidden) return;
  let response;
  try {
    response = await fetch(location.href);
  } catch {
    return; // The server may come back.
  }
  if (!response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html").querySelector("main");
  const shown = document.querySelector("main");
  if (fresh && fresh.innerHTML !== shown.innerHTML) shown.replaceWith(document.adoptNode(fresh));
}

setInterval(renew, EVERY_MS);
