// SPDX-License-Identifier: Apache-2.0
// The page is whole without this: here are folding, finding, and what is told of one image.
"use strict";
(() => {
  const MANY = 1000;
  const byId = (id) => document.getElementById(id);
  const facts = JSON.parse(byId("facts").textContent);
  const items = [...document.querySelectorAll("[role=treeitem]")];
  const about = byId("about");
  const search = byId("search");
  let hits = [];
  let at = -1;
  let marked = null;

  const above = (item) => item.parentElement.closest("[role=treeitem]");
  const isOpen = (item) => item.getAttribute("aria-expanded") === "true";
  const hasMore = (item) => item.hasAttribute("aria-expanded");
  const isShown = (item) => item.offsetParent !== null;
  const treeOf = (item) => item.closest("[role=tree]");

  // Folding

  const fold = (item, open) => {
    if (hasMore(item)) item.setAttribute("aria-expanded", String(open));
    const inside = document.activeElement.closest("[role=treeitem]");
    if (!open && inside && inside !== item && item.contains(inside)) focus(item);
  };
  const foldAll = (open) => items.forEach((item) => fold(item, open));

  const focus = (item) => {
    for (const other of treeOf(item).querySelectorAll("[role=treeitem][tabindex='0']")) other.tabIndex = -1;
    item.tabIndex = 0;
    item.focus({preventScroll: true});
    item.firstElementChild.scrollIntoView({block: "nearest", inline: "nearest"});
  };

  const reveal = (item) => {
    for (let each = above(item); each; each = above(each)) fold(each, true);
    item.firstElementChild.scrollIntoView({block: "center", inline: "center"});
  };

  // Finding

  const words = facts.map((fact) => JSON.stringify(fact).toLowerCase());
  const find = (matches) => {
    for (const item of hits) item.classList.remove("found", "here");
    hits = matches === null ? [] : items.filter(matches);
    hits.forEach((item) => item.classList.add("found"));
    document.body.classList.toggle("searching", matches !== null);
    at = -1;
    if (hits.length) go(1);
    else byId("hits").textContent = matches === null ? "" : "none found";
  };
  const go = (by) => {
    if (!hits.length) return;
    if (at >= 0) hits[at].classList.remove("here");
    at = (at + by + hits.length) % hits.length;
    hits[at].classList.add("here");
    byId("hits").textContent = `${at + 1} of ${hits.length}`;
    reveal(hits[at]);
  };
  const findText = () => {
    marked = null;
    const text = search.value.trim().toLowerCase();
    // As it is written in JSON.
    const wanted = JSON.stringify(text).slice(1, -1);
    find(text ? (_item, number) => words[number].includes(wanted) : null);
  };

  // Telling

  const add = (parent, tag, text) => {
    const made = parent.appendChild(document.createElement(tag));
    made.textContent = text;
    return made;
  };
  const tell = (item) => {
    const [name, known] = facts[items.indexOf(item)];
    about.replaceChildren();
    add(about, "h3", name);
    const close = add(about, "button", "\u00d7");
    close.setAttribute("aria-label", "Close");
    close.addEventListener("click", () => hush());
    const list = add(about, "dl", "");
    for (const [what, value] of Object.entries(known)) {
      add(list, "dt", what);
      for (const each of [value].flat()) add(list, "dd", each);
    }
    about.hidden = false;
  };
  const hush = () => {
    about.hidden = true;
  };

  // Mouse and keys

  document.querySelector("main").addEventListener("click", (event) => {
    const card = event.target.closest(".card");
    if (!card) return;
    const item = card.parentElement;
    focus(item);
    if (event.target.closest(".twisty")) fold(item, !isOpen(item));
    else tell(item);
  });

  const keys = {
    ArrowRight: (item) => (hasMore(item) && !isOpen(item) ? fold(item, true) : step(item, 1, (next) => item.contains(next))),
    ArrowLeft: (item) => (hasMore(item) && isOpen(item) ? fold(item, false) : above(item) && focus(above(item))),
    ArrowDown: (item) => step(item, 1),
    ArrowUp: (item) => step(item, -1),
    Home: (item) => focus(shownIn(item)[0]),
    End: (item) => focus(shownIn(item).at(-1)),
    Enter: (item) => tell(item),
    " ": (item) => fold(item, !isOpen(item)),
  };
  const shownIn = (item) => [...treeOf(item).querySelectorAll("[role=treeitem]")].filter(isShown);
  const step = (item, by, suits = () => true) => {
    const shown = shownIn(item);
    const next = shown[shown.indexOf(item) + by];
    if (next && suits(next)) focus(next);
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const item = event.target.closest("[role=treeitem]");
    if (item && event.key in keys) {
      event.preventDefault();
      keys[event.key](item);
    } else if (event.key === "/" && event.target !== search) {
      event.preventDefault();
      search.focus();
      search.select();
    } else if (event.key === "Escape") {
      if (!about.hidden) hush();
      else if (hits.length || search.value) {
        search.value = "";
        findText();
      }
    }
  });

  search.addEventListener("input", findText);
  search.form.addEventListener("submit", (event) => event.preventDefault());
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") go(event.shiftKey ? -1 : 1);
  });
  byId("next").addEventListener("click", () => go(1));
  byId("before").addEventListener("click", () => go(-1));
  byId("expand").addEventListener("click", () => foldAll(true));
  byId("collapse").addEventListener("click", () => foldAll(false));
  byId("dense").addEventListener("click", (event) => {
    const pressed = document.body.classList.toggle("dense");
    event.currentTarget.setAttribute("aria-pressed", String(pressed));
  });
  for (const button of document.querySelectorAll("[data-mark]")) {
    button.addEventListener("click", () => {
      if (marked === button && hits.length) go(1);
      else find((item) => item.classList.contains(button.dataset.mark));
      marked = button;
      search.value = "";
    });
  }

  for (const tree of document.querySelectorAll("[role=tree]")) tree.querySelector("[role=treeitem]").tabIndex = 0;
  if (items.length > MANY) foldAll(false);
})();
