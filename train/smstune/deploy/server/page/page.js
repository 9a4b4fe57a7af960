"use strict";
// Texts of messages reach the page by textContent alone.
const SHOWN = 5;
const PLACEHOLDER = /(\[[A-Z]+\])/;
const find = (id) => document.getElementById(id);
const copy = (id) => find(id).content.firstElementChild.cloneNode(true);
const percent = (share) => (100 * share).toFixed(1) + " %";
const signed = (score) => (score < 0 ? "−" : "+") + Math.abs(score).toFixed(2);
let running = new AbortController();

async function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  const key = find("key");
  if (key) headers["X-API-Key"] = key.value;
  let response;
  try {
    response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer.");
  }
  const found = await response.json();
  if (response.ok) return found;
  throw new Error(`Expected ${found.expected}, found ${found.found}: ${found.what_to_do}.`);
}

function element(name, text, styles = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  Object.assign(made.style, styles);
  return made;
}

function showScores(list, scores) {
  for (const [label, score] of scores) {
    const row = copy("score");
    row.querySelector(".name").textContent = label;
    row.querySelector(".value").textContent = percent(score);
    row.querySelector(".bar span").style.width = percent(score).replace(" ", "");
    list.append(row);
  }
}

function showMessage(place, pieces) {
  const most = Math.max(...pieces.map((piece) => Math.abs(piece.score || 0)));
  place.replaceChildren();
  for (const { text, score } of pieces) {
    for (const part of text.split(PLACEHOLDER)) {
      const made = element(PLACEHOLDER.test(part) ? "mark" : "span", part);
      const strength = score ? Math.abs(score) / most : 0;
      if (strength >= 0.02) {
        const colour = score > 0 ? "214,60,50" : "40,110,220";
        made.style.background = `rgba(${colour},${(0.6 * strength).toFixed(2)})`;
        made.title = signed(score);
      }
      if (part) place.append(made);
    }
  }
}

function showAnswer(answer) {
  const item = copy("answer");
  const part = (css) => item.querySelector(css);
  part(".label").textContent = `${answer.label}, ${percent(answer.score)}`;
  if (answer.decision) {
    part(".decision").textContent = answer.decision;
    part(".decision").classList.add(answer.decision);
  }
  part(".note").textContent = answer.note || "";
  showMessage(part(".message"), [{ text: answer.text, score: null }]);
  const scores = Object.entries(answer.scores).sort((one, other) => other[1] - one[1]);
  showScores(part(".scores"), scores.slice(0, SHOWN));
  const rest = scores.slice(SHOWN);
  part("summary").textContent = `${rest.length} more`;
  showScores(part(".more .scores"), rest);
  if (!rest.length) part(".more").remove();
  return item;
}

function strongest(pieces) {
  return pieces
    .filter((piece) => piece.score)
    .sort((one, other) => Math.abs(other.score) - Math.abs(one.score))
    .slice(0, SHOWN)
    .map((piece) => `${piece.text} ${signed(piece.score)}`)
    .join(", ");
}

async function explain(item, text, signal) {
  const place = item.querySelector(".explanation");
  place.textContent = "Working …";
  try {
    const found = await post("v1/explain", { text }, signal);
    showMessage(item.querySelector(".message"), found.pieces);
    place.textContent =
      `Red speaks for ${found.label}, blue against it, as strongly as the colour. ` +
      `Strongest, in nats: ${strongest(found.pieces) || "none"}.`;
  } catch (error) {
    if (error.name !== "AbortError") place.textContent = error.message;
  }
}

async function classify(event) {
  event.preventDefault();
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const texts = find("texts").value.split("\n").filter((line) => line.trim());
  const status = find("status");
  status.className = "";
  status.textContent = "Working …";
  find("results").replaceChildren();
  try {
    const { answers } = await post("v1/classify", { texts }, signal);
    answers.forEach((answer, at) => {
      const item = showAnswer(answer);
      item.querySelector(".explain").addEventListener("click", () => explain(item, texts[at], signal));
      find("results").append(item);
    });
    status.textContent = `${answers.length} ${answers.length === 1 ? "message" : "messages"} answered.`;
  } catch (error) {
    if (error.name === "AbortError") return;
    status.className = "warning";
    status.textContent = error.message;
  }
}

find("form").addEventListener("submit", classify);
find("texts").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) find("form").requestSubmit();
});
