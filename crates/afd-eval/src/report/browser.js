"use strict";
// Every text goes in by textContent: what models write is never read as markup.
(function () {
  const root = document.documentElement;
  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };

  const theme = document.getElementById("theme");
  const dark = () => root.dataset.theme
    ? root.dataset.theme === "dark"
    : window.matchMedia("(prefers-color-scheme: dark)").matches;
  theme.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
  });

  const blur = document.getElementById("blur");
  const label = () => {
    blur.textContent = document.body.classList.contains("blurred") ? "Show texts" : "Blur texts";
  };
  blur.addEventListener("click", () => {
    document.body.classList.toggle("blurred");
    label();
  });
  label();

  const place = document.getElementById("samples");
  if (!place) return;
  const data = JSON.parse(place.textContent);
  const by = (id) => document.getElementById(id);
  const [search, ranker, order, list, count, more] =
    ["search", "ranker", "order", "list", "count", "more"].map(by);
  const PAGE = 20;
  let shown = PAGE;

  data.rankers.forEach((name, index) => {
    const option = make("option", "", name);
    option.value = index;
    ranker.append(option);
  });

  // The first of the best by a score; candidates without one are nobody's choice.
  const best = (answers, score) => {
    let found = -1;
    answers.forEach((answer, index) => {
      if (!answer.scores) return;
      if (found < 0 || score(answer) > score(answers[found])) found = index;
    });
    return found;
  };
  const golden = (answer) => answer.golden;
  const signed = (value) => (value === undefined || value === null ? "–" : value.toFixed(2).replace("-", "−"));

  const regret = (item) => {
    const scored = item.answers;
    const chosen = best(scored, (answer) => answer.scores[ranker.value]);
    return chosen < 0 ? 0 : scored[best(scored, golden)].golden - scored[chosen].golden;
  };

  const matching = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const has = (item) => {
      const text = [item.prompt].concat(item.answers.map((answer) => answer.text)).join("\n");
      const low = text.toLowerCase();
      return words.every((word) => low.includes(word));
    };
    const found = data.prompts.filter(has);
    const keys = {
      number: (item) => item.number,
      regret: (item) => -regret(item),
      chosen: (item) => {
        const chosen = best(item.answers, (answer) => answer.scores[ranker.value]);
        return chosen < 0 ? 0 : item.answers[chosen].golden;
      },
    };
    const key = keys[order.value];
    return found.sort((a, b) => key(a) - key(b) || a.number - b.number);
  };

  const candidate = (answer, isChosen, isCeiling) => {
    const box = make("div", isChosen ? "answer chosen" : "answer");
    const who = make("div", "who");
    who.append(make("b", "", answer.who));
    if (isChosen) who.append(make("em", "badge", "chosen"));
    if (isCeiling) who.append(make("em", "badge", "best by golden"));
    who.append(make("span", "", "golden " + signed(answer.golden)));
    if (answer.scores) {
      who.append(make("span", "", data.rankers[ranker.value] + " " + signed(answer.scores[ranker.value])));
      const all = make("details", "scores");
      all.append(make("summary", "", "all scores"));
      data.rankers.forEach((name, index) => {
        all.append(make("span", "", name + " " + signed(answer.scores[index])));
      });
      who.append(all);
    }
    box.append(who, make("div", "text", answer.text));
    return box;
  };

  const fill = (item, body) => {
    body.replaceChildren(make("div", "text prompt", item.prompt));
    const score = (answer) => answer.scores[ranker.value];
    const chosen = best(item.answers, score);
    const ceiling = best(item.answers, golden);
    const places = item.answers.map((_, index) => index);
    const rank = (index) => (item.answers[index].scores ? score(item.answers[index]) : Infinity);
    places.sort((a, b) => rank(b) - rank(a) || a - b);
    for (const index of places) {
      body.append(candidate(item.answers[index], index === chosen, index === ceiling));
    }
  };

  const draw = () => {
    const open = new Set(Array.from(list.querySelectorAll("details[open]"), (node) => node.dataset.number));
    const found = matching();
    count.textContent = found.length + " of " + data.prompts.length + " prompts";
    list.replaceChildren();
    for (const item of found.slice(0, shown)) {
      const box = make("details", "dialogue");
      box.dataset.number = item.number;
      const lost = regret(item);
      const title = make("summary", "", "Prompt " + item.number);
      const line = item.prompt.replace(/\s+/g, " ");
      title.append(make("span", "first", line.length > 110 ? line.slice(0, 110) + "…" : line));
      title.append(make("span", "lost", lost > 0 ? "−" + lost.toFixed(2) : "best chosen"));
      const body = make("div", "body");
      box.append(title, body);
      box.addEventListener("toggle", () => {
        if (box.open && !body.firstChild) fill(item, body);
      });
      list.append(box);
      if (open.has(String(item.number))) {
        fill(item, body);
        box.open = true;
      }
    }
    more.hidden = found.length <= shown;
  };

  const restart = () => {
    shown = PAGE;
    draw();
  };
  search.addEventListener("input", restart);
  ranker.addEventListener("change", restart);
  order.addEventListener("change", restart);
  more.addEventListener("click", () => {
    shown += PAGE;
    draw();
  });
  draw();
})();
