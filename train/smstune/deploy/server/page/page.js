"use strict";
// Texts of messages reach the page by textContent alone.
const SHOWN = 5;
const PLACEHOLDER = /(\[[A-Z]+\])/;
const find = (id) => document.getElementById(id);
const copy = (id) => find(id).content.firstElementChild.cloneNode(true);
const percent = (share) => (100 * share).toFixed(1) + " %";
const signed = (score) => (score < 0 ? "−" : "+") + Math.abs(score).toFixed(2);
const shownNames = new Map(
  Array.from(find("labels").content.children, (item) => [item.dataset.label, item.textContent]));
const texts = JSON.parse(find("page-texts").dataset.texts);
const filled = (name, values) =>
  texts[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
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
    throw new Error(texts.no_answer);
  }
  const answer = await response.json();
  if (response.ok) return answer;
  throw new Error(filled("problem", answer));
}

function element(name, text, styles = {}) {
  const created = document.createElement(name);
  created.textContent = text;
  Object.assign(created.style, styles);
  return created;
}

function showScores(list, scores) {
  for (const [label, score] of scores) {
    const row = copy("score");
    row.querySelector(".name").textContent = shownNames.get(label);
    row.querySelector(".value").textContent = percent(score);
    row.querySelector(".bar span").style.width = percent(score).replace(" ", "");
    list.append(row);
  }
}

function showMessage(paragraph, pieces) {
  const largest = Math.max(...pieces.map((piece) => Math.abs(piece.score || 0)));
  paragraph.replaceChildren();
  for (const { text, score } of pieces) {
    for (const run of text.split(PLACEHOLDER)) {
      const span = element(PLACEHOLDER.test(run) ? "mark" : "span", run);
      const strength = score ? Math.abs(score) / largest : 0;
      if (strength >= 0.02) {
        const colour = score > 0 ? "214,60,50" : "40,110,220";
        span.style.background = `rgba(${colour},${(0.6 * strength).toFixed(2)})`;
        span.title = signed(score);
      }
      if (run) paragraph.append(span);
    }
  }
}

function showAnswer(answer) {
  const item = copy("answer");
  const query = (css) => item.querySelector(css);
  query(".label").textContent = filled("label", {
    label: shownNames.get(answer.label), probability: percent(answer.score) });
  if (answer.decision) {
    query(".decision").textContent = texts[answer.decision];
    query(".decision").classList.add(answer.decision);
  }
  query(".note").textContent = answer.note || "";
  if (answer.campaign) {
    const { id, first, similarity, reason } = answer.campaign;
    const known = filled("campaign", { id, first, similarity: percent(similarity) });
    query(".campaign").textContent = [known, reason].filter(Boolean).join("; ");
  } else {
    query(".campaign").remove();
  }
  showMessage(query(".message"), [{ text: answer.text, score: null }]);
  const scores = Object.entries(answer.scores).sort((left, right) => right[1] - left[1]);
  showScores(query(".scores"), scores.slice(0, SHOWN));
  const rest = scores.slice(SHOWN);
  query("summary").textContent = filled("more", { count: rest.length });
  showScores(query(".more .scores"), rest);
  if (!rest.length) query(".more").remove();
  return item;
}

function strongest(pieces) {
  return pieces
    .filter((piece) => piece.score)
    .sort((left, right) => Math.abs(right.score) - Math.abs(left.score))
    .slice(0, SHOWN)
    .map((piece) => `${piece.text} ${signed(piece.score)}`)
    .join(texts.comma);
}

async function explain(item, text, signal) {
  const output = item.querySelector(".explanation");
  output.textContent = texts.working;
  try {
    const explanation = await post("v1/explain", { text }, signal);
    showMessage(item.querySelector(".message"), explanation.pieces);
    output.textContent = filled("explanation", {
      label: shownNames.get(explanation.label),
      pieces: strongest(explanation.pieces) || texts.nothing,
    });
  } catch (error) {
    if (error.name !== "AbortError") output.textContent = error.message;
  }
}

async function classify(event) {
  event.preventDefault();
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const messages = find("texts").value.split("\n").filter((line) => line.trim());
  const status = find("status");
  status.className = "";
  status.textContent = texts.working;
  find("results").replaceChildren();
  try {
    const { answers } = await post("v1/classify", { texts: messages }, signal);
    answers.forEach((answer, index) => {
      const item = showAnswer(answer);
      item.querySelector(".explain")?.addEventListener("click", () => explain(item, messages[index], signal));
      find("results").append(item);
    });
    status.textContent = answers.length === 1
      ? texts.one_answered : filled("answered", { count: answers.length });
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
