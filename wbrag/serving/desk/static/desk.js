// The desk's keyboard, selection and decision form. Everything is rendered on the server; htmx fetches the parts.
"use strict";

const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const wide = matchMedia("(min-width: 60.01rem)");

// -- the list and the chosen unit ---------------------------------------------------------------------------------

const current = () => one("#list .row[aria-current]");

function mark(row) {
  for (const old of all("#list .row[aria-current]")) {
    old.removeAttribute("aria-current");
    old.closest("li").classList.remove("current");
  }
  row.setAttribute("aria-current", "true");
  row.closest("li").classList.add("current");
  row.closest("li").scrollIntoView({ block: "nearest" });
}

function step(by) {
  const rows = all("#list .row");
  const next = rows[rows.indexOf(current()) + by];
  if (next) {
    next.focus({ preventScroll: true });
    next.click();
  } else {
    one(`#detail [data-step][rel="${by > 0 ? "next" : "prev"}"]`)?.click(); // the next page of the list
  }
}

// -- selection ----------------------------------------------------------------------------------------------------

const picked = () => all("#list input[name=pick]:checked");
let matching = 0; // all units that the filter lets through, where the reader asked for them

function selection() {
  const bulk = one("#bulk");
  if (!bulk) return;
  const boxes = all("#list input[name=pick]");
  const chosen = picked();
  const total = Number(one("#list").dataset.total);
  if (chosen.length < boxes.length) matching = 0;
  bulk.hidden = !chosen.length;
  one("[data-count]", bulk).textContent = (matching || chosen.length).toLocaleString("en");
  const offer = one("[data-match]", bulk);
  offer.hidden = !(chosen.length === boxes.length && total > boxes.length && !matching);
  offer.textContent = `Select all ${total.toLocaleString("en")}`;
  for (const button of all("[data-bulk]", bulk)) {
    const allowed = chosen.every((box) => box.closest("li").dataset.next.split(" ").includes(button.dataset.bulk));
    button.hidden = !allowed;
  }
  const head = one("#all");
  if (head) {
    head.checked = boxes.length > 0 && chosen.length === boxes.length;
    head.indeterminate = chosen.length > 0 && !head.checked;
  }
}

// -- decisions ----------------------------------------------------------------------------------------------------

const WORDS = { approved: "Approve", rejected: "Reject", retired: "Retire", candidate: "Reopen", stale: "Mark stale" };

function decide(state, ids, { ask = "", count = 0, name = "" } = {}) {
  const form = one("#decide");
  const what = count ? `${count.toLocaleString("en")} units` : `“${name}”`;
  form.elements.state.value = state;
  form.elements.matching.value = count && matching ? matching : 0;
  form.elements.where.value = one("#list")?.dataset.where.split("?")[1] ?? "";
  form.elements.back.value = count ? location.pathname + location.search : one("#detail").dataset.back;
  one("[data-ids]", form).replaceChildren(
    ...(count && matching ? [] : ids).map((id) => Object.assign(document.createElement("input"), { type: "hidden", name: "ids", value: id }))
  );
  form.elements.why.value = "";
  form.elements.why.required = ask === "must";
  if (!ask) return form.requestSubmit();
  const overrules = state === "approved" && ask === "must";
  one("#decision-title").textContent = `${WORDS[state]} ${what}`;
  one("[data-explain]", form).textContent = overrules ? (count ? "Some of these failed a check. Say why they are right all the same." : "It failed a check. Say why it is right all the same.") : "";
  one("[data-optional]", form).hidden = ask === "must";
  one("[data-submit]", form).textContent = WORDS[state];
  one("[data-submit]", form).className = state === "approved" || state === "candidate" ? "primary" : "danger";
  const reasons = overrules || state === "candidate" ? [] : all(count ? "#detail [data-reasons] li:nth-last-child(-n+4)" : "#detail [data-reasons] li");
  one("[data-suggestions]", form).replaceChildren(
    ...(state === "rejected" || state === "retired" ? reasons : []).map((li) => Object.assign(document.createElement("button"), { type: "button", className: "chip", textContent: li.textContent }))
  );
  one("#decision").showModal();
  form.elements.why.focus();
}

function decideOne(state) {
  const button = one(`#detail [data-decide=${state}]`);
  if (!button) return false;
  if (current() && current().dataset.unit !== button.dataset.id) {
    tell("The chosen unit is not shown yet: wait for it, then decide.", true);
    return true;
  }
  decide(state, [button.dataset.id], { ask: button.dataset.ask, name: one("#detail h1, #detail h2").textContent });
  return true;
}

function decideMany(state) {
  const boxes = picked();
  const button = one(`#bulk [data-bulk=${state}]`);
  if (!boxes.length || !button || button.hidden) return;
  const failed = boxes.some((box) => "failed" in box.closest("li").dataset);
  const ask = state === "approved" && !failed ? "may" : "must";
  decide(state, boxes.map((box) => box.value), { ask, count: matching || boxes.length });
}

function tell(text, wrong = false) {
  const said = Object.assign(document.createElement("p"), { className: wrong ? "wrong" : "done", textContent: text });
  const close = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: "×", ariaLabel: "Dismiss" });
  close.dataset.dismiss = "";
  said.append(close);
  one("#status").replaceChildren(said);
}

// -- keyboard -----------------------------------------------------------------------------------------------------

let going = 0; // when g was pressed

const KEYS = {
  j: () => step(1),
  k: () => step(-1),
  a: () => decideOne("approved"),
  r: () => decideOne("rejected") || decideOne("retired"),
  x: () => current()?.closest("li").querySelector("input[name=pick]")?.click(),
  A: () => decideMany("approved"),
  R: () => (one("#bulk [data-bulk=rejected]")?.hidden ? decideMany("retired") : decideMany("rejected")),
  o: () => one("#detail [data-own]")?.click(),
  u: () => tell("Nothing is undone here, a unit's history only grows. To reverse a decision, open the unit and decide again."),
  "/": () => one("#q")?.select(),
  "?": () => one("#help")?.showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.id === "why") {
    event.preventDefault();
    return event.target.form.requestSubmit();
  }
  if (event.key === "Escape" && event.target.id === "q") return event.target.blur();
  // A closed dialog's field may hold the focus until the next frame.
  const typing = event.target.matches("input:not([type=checkbox]), textarea, select") && event.target.checkVisibility();
  if (event.ctrlKey || event.metaKey || event.altKey || typing || one("dialog[open]")) return;
  const letter = /^[a-z]$/i.test(event.key);
  const key = letter ? (event.shiftKey ? event.key.toUpperCase() : event.key.toLowerCase()) : event.key; // caps lock is no shift
  if (key === "g") {
    going = Date.now();
    return;
  }
  const place = Date.now() - going < 1200 && one(`[data-go="${CSS.escape(key)}"]`);
  going = 0;
  const act = place ? () => place.click() : KEYS[key];
  if (!act) return;
  event.preventDefault();
  act();
});

// -- pointer ------------------------------------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const at = (selector) => event.target.closest(selector);
  let hit;
  if (at("#list .row") && (event.ctrlKey || event.metaKey || event.shiftKey)) return event.stopPropagation(); // the browser's own: a new tab
  if ((hit = at("[data-decide]"))) decideOne(hit.dataset.decide);
  else if ((hit = at("[data-bulk]"))) decideMany(hit.dataset.bulk);
  else if ((hit = at("[data-open]"))) one(`#${hit.dataset.open}`).showModal();
  else if (at("[data-close]")) at("dialog").close();
  else if (at("[data-dismiss]")) one("#status").replaceChildren();
  else if (at("[data-match]")) {
    matching = Number(one("#list").dataset.total);
    selection();
  } else if (at("[data-none]")) {
    for (const box of picked()) box.checked = false;
    selection();
  } else if ((hit = at("#decide .chip"))) {
    const why = one("#why");
    why.value = hit.textContent;
    why.focus();
  } else if ((hit = at("[data-step]")) && current()) {
    const rows = all("#list .row");
    const next = rows[rows.indexOf(current()) + (hit.rel === "next" ? 1 : -1)];
    if (next) {
      event.preventDefault();
      next.click();
    }
  }
}, true);

document.addEventListener("change", (event) => {
  if (event.target.id === "all") for (const box of all("#list input[name=pick]")) box.checked = event.target.checked;
  if (event.target.matches("#all, [name=pick]")) selection();
});

// -- htmx ---------------------------------------------------------------------------------------------------------

document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target.id === "live" && document.hidden) event.preventDefault(); // nobody looks
  if (event.target.matches(".row")) mark(event.target);
});
document.addEventListener("htmx:beforeHistoryUpdate", (event) => {
  if (wide.matches && event.detail.history) event.detail.history.type = "replace"; // both panes are in view
});
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.target.id === "decide" && event.detail.successful) one("#decision").close();
});
document.addEventListener("htmx:afterSettle", (event) => {
  const queue = one("#queue");
  if (!queue) return;
  if (event.detail.requestConfig?.elt?.matches(".row")) queue.classList.add("opened");
  if (event.detail.target.id === "list") {
    matching = 0;
    selection();
    current()?.closest("li").scrollIntoView({ block: "nearest" });
    if (!document.activeElement || document.activeElement === document.body) current()?.focus({ preventScroll: true });
  }
  one("#detail")?.scrollTo(0, 0);
  if (!wide.matches && event.detail.target.id !== "list") scrollTo(0, 0);
});
document.addEventListener("htmx:responseError", (event) => tell(event.detail.xhr.responseText.slice(0, 500) || "The gateway refused this.", true));
document.addEventListener("htmx:sendError", () => tell("The gateway does not answer: is it running?", true));

current()?.closest("li").scrollIntoView({ block: "nearest" });
selection();
