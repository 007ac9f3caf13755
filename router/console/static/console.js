// A little comfort for those who have script: everything works without it.
"use strict";

// Ask before what cannot be taken back.
document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.ask ?? event.target.dataset.ask;
  if (question && !window.confirm(question)) event.preventDefault();
});

// A filter takes effect as soon as it is chosen.
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-live]");
  if (form && event.target.matches("select")) form.requestSubmit();
});

// Copy what is shown once.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const told = document.getElementById(button.dataset.copy);
  await navigator.clipboard.writeText(told.textContent.trim());
  button.textContent = "Copied";
});

// The queue of approvals from the keyboard: j and k move, a approves, d denies, Enter opens.
const queue = [...document.querySelectorAll("[data-queue] > [data-entry]")];
if (queue.length) {
  let place = -1;
  const go = (to) => {
    place = Math.max(0, Math.min(queue.length - 1, to));
    queue[place].focus();
    queue[place].scrollIntoView({ block: "nearest" });
  };
  queue.forEach((entry, index) => entry.addEventListener("focusin", () => { place = index; }));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
    if (event.key === "j") go(place + 1);
    else if (event.key === "k") go(place - 1);
    else if ("ad".includes(event.key) && place >= 0) {
      queue[place].querySelector(`button[value="${event.key === "a" ? "approve" : "reject"}"]`)?.focus();
    } else if (event.key === "n" && place >= 0) queue[place].querySelector("input[name=note]")?.focus();
    else return;
    event.preventDefault();
  });
}
