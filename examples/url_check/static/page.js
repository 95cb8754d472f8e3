// Brings the page up to date in place until its check has ended. What has the focus is never replaced.
"use strict";
const PARTS = ["state", "counts", "cancel", "rows"];
const again = () => setTimeout(refresh, document.hidden ? 10000 : 1000);

async function refresh() {
  try {
    const answer = await fetch(location.href, {headers: {Accept: "text/html"}});
    if (answer.ok) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const id of PARTS) {
        const here = document.getElementById(id), there = fresh.getElementById(id);
        if (!here || !there || here.contains(document.activeElement)) continue;
        if (here.innerHTML !== there.innerHTML) here.innerHTML = there.innerHTML;
      }
      document.title = fresh.title;
      if (!fresh.querySelector("script")) return; // it has ended
    }
  } catch { /* the front is away: the page stays as it was, and asks again */ }
  again();
}
again();
