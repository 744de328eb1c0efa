"use strict";
(() => {
  const perPage = 24;
  const fold = (text) => text.normalize("NFKD").replace(/\p{M}+/gu, "").toLowerCase();
  const terms = (text) => fold(text).split(/\s+/).filter(Boolean);
  const holdsAll = (wanted) => (entry) => wanted.every((term) => entry.text.includes(term));
  const entries = (selector, words) =>
    [...document.querySelectorAll(selector)].map((node) => ({ node, text: fold(words(node).textContent) }));
  const byId = (id) => document.getElementById(id);

  // The gallery: a search over the words of every card, and a page of cards at a time.
  const cards = entries("#cards > li", (node) => node.querySelector(".words"));
  const query = byId("query");
  let page = 0;

  const show = () => {
    const found = cards.filter(holdsAll(terms(query.value)));
    const last = Math.max(0, Math.ceil(found.length / perPage) - 1);
    page = Math.min(page, last);
    const shown = new Set(found.slice(page * perPage, (page + 1) * perPage));
    for (const card of cards) card.node.hidden = !shown.has(card);
    const number = found.length === 1 ? "1 row" : `${found.length} rows`;
    byId("found").textContent = query.value.trim() ? `${number} of ${cards.length}` : number;
    byId("nothing").hidden = found.length > 0;
    byId("turn").hidden = last === 0;
    byId("place").textContent = `Page ${page + 1} of ${last + 1}`;
    byId("previous").disabled = page === 0;
    byId("next").disabled = page === last;
  };
  const turn = (by) => {
    page += by;
    show();
    byId("gallery").scrollIntoView({ behavior: "instant" });
    byId("place").focus({ preventScroll: true });
  };
  const fromAddress = () => {
    query.value = new URLSearchParams(location.hash.slice(1)).get("q") ?? query.value;
    page = 0;
    show();
  };

  if (query) {
    byId("search").hidden = false;
    query.addEventListener("input", () => {
      page = 0;
      show();
      const kept = query.value.trim() ? "#" + new URLSearchParams({ q: query.value }) : "#gallery";
      history.replaceState(null, "", kept);
    });
    byId("search").addEventListener("submit", (event) => event.preventDefault());
    byId("previous").addEventListener("click", () => turn(-1));
    byId("next").addEventListener("click", () => turn(1));
    addEventListener("hashchange", fromAddress);
    addEventListener("keydown", (event) => {
      if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.target.closest("input")) {
        event.preventDefault();
        query.focus();
      }
    });
    fromAddress();
    if (location.hash.startsWith("#q=")) byId("gallery").scrollIntoView({ behavior: "instant" });
  }

  // The table of classes: a search over names, and sorting by a column.
  const rows = entries("#classes tbody tr", (node) => node.querySelector("th"));
  byId("narrow").hidden = false;
  byId("name").addEventListener("input", (event) => {
    const fits = holdsAll(terms(event.target.value));
    for (const row of rows) row.node.hidden = !fits(row);
  });
  byId("narrow").addEventListener("submit", (event) => event.preventDefault());
  const heads = [...document.querySelectorAll("#classes thead th")];
  const value = (row, at) => row.node.cells[at].dataset.value ?? row.text;
  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const falls = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const order = (a, b) => String(value(a, at)).localeCompare(String(value(b, at)), "en", { numeric: true });
      const sorted = [...rows].sort((a, b) => (falls ? order(b, a) : order(a, b)));
      document.querySelector("#classes tbody").append(...sorted.map((row) => row.node));
    });
  });
})();
