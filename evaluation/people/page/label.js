// The labelling page. It shows one picture at a time and sends the two answers to whoever keeps
// them: the server that the page comes from, or, in a page that was mailed, the browser itself.
"use strict";

(() => {
  const setup = JSON.parse(document.getElementById("setup").textContent);
  const $ = (id) => document.getElementById(id);
  const QUESTIONS = ["action", "subject"];
  const KEYS = { y: "yes", n: "no", u: "unsure" };

  // Who keeps the answers: `next` gives {item, done, total}, `answer` and `undo` give the same.

  class Server {
    async ask(path, body) {
      let reply;
      try {
        reply = await fetch(path, body === undefined ? {} : {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify(body),
        });
      } catch {
        throw new Error("The server does not answer. Your answer is kept here: start " +
          "`actionbench annotate` again and open the link that it prints, or try again.");
      }
      const said = await reply.json();
      if (!reply.ok) throw Object.assign(new Error(said.error), { status: reply.status });
      return said;
    }
    next() { return this.ask("next"); }
    answer(values) { return this.ask("answer", values); }
    undo() { return this.ask("undo", {}); }
  }

  class Mailed {
    constructor() {
      this.key = `actionbench ${setup.key}`;
      this.answers = [];
      try {
        this.answers = JSON.parse(localStorage.getItem(this.key) || "[]");
      } catch {
        report("This browser keeps nothing for this page: download your labels before you close it.");
      }
    }
    keep() {
      try {
        localStorage.setItem(this.key, JSON.stringify(this.answers));
      } catch {
        report("This browser has no room to keep your answers: download your labels now.");
      }
    }
    state() {
      const done = new Set(this.answers.map((a) => a.item));
      const item = setup.items.find((i) => !done.has(i.id));
      const images = setup.items.filter((i) => i.kind !== "training");
      const shown = item && { ...item, action: setup.actions[item.action] };
      return { item: shown || null, done: images.filter((i) => done.has(i.id)).length, total: images.length };
    }
    async next() { return this.state(); }
    async answer(values) {
      const item = setup.items.find((i) => i.id === values.item);
      if (!this.answers.some((a) => a.item === values.item)) {
        this.answers.push({ ...values, answered: new Date().toISOString() });
        this.keep();
      }
      return { ...this.state(), truth: item.truth };
    }
    async undo() {
      this.answers.pop();
      this.keep();
      return this.state();
    }
    csv() {
      const field = (value) => /[",\n\r]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value);
      const lines = this.answers.map((a) => [a.item, a.sha, setup.rater, session(this.answers, a), a.action,
        a.subject, a.comment, setup.questions, a.answered, a.seconds, 0]);
      return [setup.columns, ...lines].map((line) => line.map(field).join(",")).join("\n") + "\n";
    }
  }

  // A pause of half an hour begins a new session, as on the server.
  function session(answers, until) {
    let number = 1, before = null;
    for (const a of answers) {
      const now = Date.parse(a.answered);
      if (before !== null && now - before > 1800e3) number += 1;
      before = now;
      if (a === until) break;
    }
    return number;
  }

  const keeper = setup.mode === "server" ? new Server() : new Mailed();
  let item = null, given = {}, shown = 0, spent = 0, busy = false, following = null;
  const times = [];

  function report(text) {
    $("trouble").textContent = text;
    $("trouble").hidden = !text;
  }

  function section(name) {
    for (const id of ["intro", "work", "end"]) $(id).hidden = id !== name;
  }

  function show(state) {
    item = state.item;
    given = {};
    $("count").textContent = `${state.done} of ${state.total}`;
    $("progress").max = Math.max(1, state.total);
    $("progress").value = state.done;
    $("left").textContent = left(state.total - state.done);
    $("feedback").hidden = true;
    if (!item) {
      section("end");
      document.documentElement.dataset.ready = "end";
      return;
    }
    section("work");
    $("round").hidden = item.kind !== "training";
    $("picture").src = item.picture;
    $("action").textContent = item.action.description;
    $("subject").textContent = item.subject;
    $("exemplars").replaceChildren(...item.action.exemplars.map((source) => {
      const image = new Image();
      image.src = source;
      image.alt = "";
      return image;
    }));
    $("comment").value = "";
    shown = performance.now();
    mark();
    document.documentElement.dataset.ready = String(item.id);
  }

  function left(count) {
    if (times.length < 3 || count <= 0) return "";
    const median = [...times].sort((a, b) => a - b)[times.length >> 1];
    const minutes = Math.ceil((median * count) / 60);
    return minutes > 90 ? `about ${(minutes / 60).toFixed(1)} h left` : `about ${minutes} min left`;
  }

  function asked() {
    return QUESTIONS.find((q) => !(q in given));
  }

  function mark() {
    for (const box of document.querySelectorAll(".question")) {
      const question = box.dataset.question;
      box.classList.toggle("now", question === asked());
      for (const button of box.querySelectorAll("button")) {
        button.setAttribute("aria-pressed", String(given[question] === button.dataset.answer));
      }
    }
  }

  async function give(question, answer) {
    if (!item || busy || following) return;
    given[question] = answer;
    mark();
    if (asked() === undefined) await send();
  }

  async function work(doing) {
    if (busy) return;
    busy = true;
    document.documentElement.dataset.busy = "";
    try {
      await doing();
    } catch (error) {
      report(error.message);
    } finally {
      busy = false;
      delete document.documentElement.dataset.busy;
    }
  }

  async function send() {
    spent = (performance.now() - shown) / 1000;
    await work(async () => {
      const answered = item;
      let state;
      try {
        state = await keeper.answer({
          item: item.id, sha: item.sha, action: given.action, subject: given.subject,
          comment: $("comment").value.trim(), seconds: Math.round(spent * 1000) / 1000,
        });
      } catch (error) {
        // Answered in another window, or changed: there is nothing to send again.
        if (error.status !== 409) throw error;
        show(await keeper.next());
        report(error.message);
        return;
      }
      report("");
      times.push(Math.min(spent, 120));
      if (answered.kind === "training") tell(state);
      else show(state);
    });
  }

  function tell(state) {
    const lines = QUESTIONS.filter((q) => typeof state.truth[q] === "boolean").map((q) => {
      const right = state.truth[q] ? "yes" : "no";
      return `${q}: ${right}${given[q] === right ? "" : ` (you said ${given[q]})`}`;
    });
    $("told").textContent = `Right answers — ${lines.join("; ")}`;
    $("feedback").hidden = false;
    following = state;
    $("continue").focus();
  }

  function goOn() {
    const state = following;
    following = null;
    if (state) show(state);
  }

  function undo() {
    if (Object.keys(given).length && !following && asked() !== undefined) {
      given = {};
      mark();
      return;
    }
    following = null;
    work(async () => {
      show(await keeper.undo());
      report("");
    });
  }

  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([keeper.csv()], { type: "text/csv" }));
    link.download = setup.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target === $("comment")) {
      if (event.key === "Escape") $("comment").blur();
      return;
    }
    if (!$("intro").hidden) {
      if (event.key === "Enter") begin(event);
      return;
    }
    const key = event.key.toLowerCase();
    if (key === "z") undo();
    else if (!$("end").hidden) return;
    else if (following) {
      if (event.key === "Enter" && event.target !== $("continue")) goOn();
    } else if (key === "c") {
      event.preventDefault();
      $("comment").focus();
    } else if (key in KEYS) {
      const question = asked();
      if (question) give(question, KEYS[key]);
      else send();  // saving failed before: the same key tries again
    }
  });

  for (const box of document.querySelectorAll(".question")) {
    for (const button of box.querySelectorAll("button")) {
      button.addEventListener("click", () => give(box.dataset.question, button.dataset.answer));
    }
  }
  function begin(event) {
    event.preventDefault();
    work(async () => show(await keeper.next()));
  }
  $("begin").addEventListener("click", begin);
  $("continue").addEventListener("click", goOn);
  for (const id of ["undo", "undo-end"]) $(id).addEventListener("click", undo);
  for (const id of ["save", "save-end"]) {
    $(id).hidden = setup.mode === "server";
    $(id).addEventListener("click", save);
  }
  if (setup.mode !== "server") {
    $("ended").textContent = "Thank you. Download the labels and send the file back.";
  }

  section("intro");
  document.documentElement.dataset.ready = "intro";
})();
