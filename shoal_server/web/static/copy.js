// Shows a button beside each string that is to be copied. Without this script it can still be marked by hand.
"use strict";

const copied = document.getElementById("copied");

function marked(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
  return document.execCommand("copy");
}

async function copy(button) {
  const element = document.getElementById(button.dataset.copy);
  let done = false;
  if (navigator.clipboard) {
    done = await navigator.clipboard.writeText(element.textContent).then(() => true, () => false);
  }
  // Pages by plain HTTP have no clipboard of their own, but may copy what is marked.
  done = done || marked(element);
  button.textContent = done ? "Copied" : "Copy";
  copied.textContent = done ? "Copied." : "Your browser does not let this page copy; it is marked now.";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(button));
}
