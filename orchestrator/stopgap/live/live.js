// Fetches the part of the page that changes, and makes the page so, node by node: what is scrolled, focused, selected or
// unfolded stays as it is. Nothing that comes is ever run: it is parsed apart, and the policy allows no script but this.
"use strict";

(() => {
  const every = Math.max(500, Number(document.body.dataset.every) * 1000);
  const patience = every + 20000;
  const now = document.getElementById("now");
  const contact = document.getElementById("contact");
  let lostSince = null;

  const isSame = (old, fresh) =>
    old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && (old.id || "") === (fresh.id || "");

  function patch(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.nodeValue = fresh.nodeValue;
      return;
    }
    if (old.nodeName === "svg") { // a drawing is one piece
      old.replaceWith(document.importNode(fresh, true));
      return;
    }
    for (const name of old.getAttributeNames()) {
      const unfolded = old.nodeName === "DETAILS" && name === "open";
      if (!unfolded && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const name of fresh.getAttributeNames()) {
      if (old.getAttribute(name) !== fresh.getAttribute(name)) old.setAttribute(name, fresh.getAttribute(name));
    }
    patchChildren(old, fresh);
  }

  function patchChildren(old, fresh) {
    const known = new Map();
    for (const child of old.children) if (child.id) known.set(child.id, child);
    let next = old.firstChild;
    for (const wanted of fresh.childNodes) {
      const named = wanted.id ? known.get(wanted.id) : null;
      if (named && named !== next && isSame(named, wanted)) old.insertBefore(named, next);
      const found = named && isSame(named, wanted) ? named : next && isSame(next, wanted) ? next : null;
      if (found) {
        next = found.nextSibling;
        patch(found, wanted);
      } else {
        old.insertBefore(document.importNode(wanted, true), next);
      }
    }
    while (next) {
      const gone = next;
      next = next.nextSibling;
      gone.remove();
    }
  }

  function say(text, state) {
    if (contact.textContent !== text) contact.textContent = text;
    document.body.dataset.contact = state;
  }

  async function look() {
    try {
      const answer = await fetch("now", { cache: "no-store", redirect: "error", signal: AbortSignal.timeout(patience) });
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(`<div id="now">${await answer.text()}</div>`, "text/html");
      patch(now, fresh.getElementById("now"));
      document.title = `${now.querySelector("h1").textContent} · stopgap live`;
      say(lostSince ? "In contact again" : "In contact", "kept");
      lostSince = null;
    } catch {
      lostSince ??= new Date().toLocaleTimeString();
      document.title = "Contact lost · stopgap live";
      say(`Contact lost at ${lostSince}. What is shown is as it was then. Is stopgap live still running?`, "lost");
    }
  }

  async function goOn() {
    if (!document.hidden) await look();
    setTimeout(goOn, every);
  }

  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  goOn();
})();
