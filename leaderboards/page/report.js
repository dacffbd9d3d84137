"use strict";
/* The report page: sorting, heat maps, the gallery and its permalinks.
   Every name comes from data and is only ever put in as text (textContent), never as HTML. */

(() => {
  const DATA = JSON.parse(document.getElementById("data").textContent);
  const MARKS = { 3: "✓ right", 2: "✗ neglect", 1: "✗ contaminated", 0: "✗ neither", "-": "not judged" };
  const WORDS = { 3: "right", 2: "neglect", 1: "contamination", 0: "neither right", "-": "not judged" };
  const KINDS = { right: "3", neglect: "2", contamination: "1", neither: "0" };
  const CHUNK = 30;
  let images = null;

  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  /* A name may turn the direction of what follows: each stands in a bdi of its own. */
  const isolated = (text) => make("bdi", {}, text);

  /* Images */

  function picture(number) {
    images ??= JSON.parse(document.getElementById("images").textContent);
    if (number === null || number === undefined) return null;
    if (images.inside) {
      const address = `data:image/webp;base64,${images.inside[number]}`;
      return { small: address, large: address };
    }
    const small = `${images.thumbs}${images.beside[number]}.webp`;
    const suffix = images.suffixes[number];
    return { small, large: suffix ? `${images.full}${images.beside[number]}${suffix}` : small };
  }

  /* Addresses: #g0-gallery?action=sit&verdict=neglect */

  let state = { group: 0, section: "", query: new URLSearchParams() };

  function readAddress() {
    const [place, ...query] = location.hash.slice(1).split("?");
    const found = /^g(\d+)-(\w+)/.exec(place);
    if (!found || !DATA.groups[Number(found[1])]) return null;
    return { group: Number(found[1]), section: found[2], query: new URLSearchParams(query.join("?")) };
  }

  function address(group, section, values) {
    const query = new URLSearchParams();
    for (const [key, value] of Object.entries(values)) {
      if (value !== "" && value !== null && value !== undefined) query.set(key, value);
    }
    const text = query.toString();
    return `#g${group}-${section}${text ? `?${text}` : ""}`;
  }

  /* replaceState, so that turning a filter does not fill the history */
  function keepAddress(hash) {
    try {
      history.replaceState(null, "", hash);
    } catch {
      location.hash = hash;
    }
  }

  /* Copying */

  function toast(text) {
    const place = $("#toast");
    place.textContent = text;
    place.classList.add("shown");
    clearTimeout(toast.timer);
    toast.timer = setTimeout(() => place.classList.remove("shown"), 1800);
  }

  async function copy(text, what) {
    let done = false;
    try {
      await navigator.clipboard.writeText(text);
      done = true;
    } catch {
      const area = make("textarea", { class: "unseen" });
      area.value = text;
      (document.querySelector("dialog[open]") ?? document.body).append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    document.documentElement.dataset.copied = text;
    toast(done ? `copied ${what}` : `${what} could not be copied`);
  }

  const cell = (text) => String(text).replace(/\s+/g, " ").trim().replace(/[\\|`*_<>[\]]/g, "\\$&");
  const markdown = (lines) =>
    lines.map((line) => `| ${line.map(cell).join(" | ")} |`).toSpliced(1, 0,
      `| ${lines[0].map(() => "---").join(" | ")} |`).join("\n");

  /* The board */

  for (const table of all("table[data-sortable]")) {
    const body = table.tBodies[0];
    for (const head of all("th[data-key]", table)) {
      const button = make("button", { type: "button", class: "plain" }, ...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const key = head.dataset.key;
        const before = head.getAttribute("aria-sort");
        const first = head.dataset.first ?? "descending";
        const other = first === "ascending" ? "descending" : "ascending";
        const order = before === first ? other : first;
        for (const one of all("th[aria-sort]", table)) one.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const value = (row) => (key === "name" ? row.dataset.name : Number(row.dataset[key]));
        const compare = (a, b) =>
          key === "name" ? value(a).localeCompare(value(b)) : value(a) - value(b);
        body.append(...[...body.rows].sort((a, b) => sign * compare(a, b)));
      });
    }
    table.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-copy]");
      if (!button) return;
      const texts = (row) => [...row.cells].slice(0, -1).map((one) => one.innerText.replace(/[▾▴▿]/g, ""));
      copy(markdown([texts(table.tHead.rows[0]), texts(button.closest("tr"))]), "row");
    });
  }

  /* A group: heat map and gallery */

  const LOWER = new Map();
  const lower = (text) => {
    if (!LOWER.has(text)) LOWER.set(text, text.toLowerCase());
    return LOWER.get(text);
  };

  class Group {
    constructor(data) {
      this.data = data;
      this.root = document.getElementById(`g${data.number}`);
      this.sheet = $(".sheet", this.root);
      this.shown = [];
      this.drawn = 0;
      this.ready = false;
    }

    prepare() {
      if (this.ready) return;
      this.ready = true;
      const { data, root } = this;
      for (const controls of all(".controls", root)) controls.hidden = false;
      const options = (select, values) => select.append(...values.map(([value, text]) => make("option", { value }, text)));
      const runs = data.runs.map((run) => [run.id, run.name]);
      options($("[data-heat=of]", root), runs);
      options($("[data-heat=minus]", root), [["", "nothing"], ...runs]);
      if (DATA.minus) $("[data-heat=minus]", root).value = data.runs[1].id;
      const filter = (name) => $(`[data-filter=${name}]`, root);
      options(filter("action"), [["", "all"], ...data.actions.map(([name]) => [name, name])]);
      options(filter("subject"), [["", "all"], ...data.subjects.map(([name]) => [name, name])]);
      const groups = [...new Set(data.subjects.map(([, group]) => group))];
      options(filter("group"), [["", "all"], ...groups.map((group) => [group, group])]);
      if (!data.runs.some((run) => Object.keys(run.others).length)) {
        $("[data-filter=verdict] option[value=judges]", root).disabled = true;
      }
      this.boxes = data.runs.map((run) => make("input", { type: "checkbox", value: run.id, checked: true }));
      $("details.methods div", root).append(...this.boxes.map((box, number) => make("label", {}, box, isolated(data.runs[number].name))));
      for (const select of all("[data-heat]", root)) {
        select.addEventListener("change", () => {
          this.heat();
          keepAddress(address(data.number, "heat", this.heatState()));
        });
      }
      const form = $("form.controls", root);
      form.addEventListener("submit", (event) => event.preventDefault());
      let waiting;
      form.addEventListener("input", (event) => {
        clearTimeout(waiting);
        waiting = setTimeout(() => this.filtered(), event.target.type === "search" ? 160 : 0);
      });
      form.addEventListener("reset", () => setTimeout(() => this.filtered()));
      this.sheet.addEventListener("click", (event) => this.clicked(event));
      this.sheet.addEventListener("keydown", (event) => this.walk(event));
      this.watch = new IntersectionObserver((entries) => {
        if (entries.some((entry) => entry.isIntersecting)) this.more();
      }, { root: this.sheet, rootMargin: "600px" });
    }

    /* Heat map */

    heatState() {
      const value = (name) => $(`[data-heat=${name}]`, this.root).value;
      return { of: value("of"), minus: value("minus"), measure: value("measure") };
    }

    setHeat(query) {
      const set = (name, value) => {
        const select = $(`[data-heat=${name}]`, this.root);
        if ([...select.options].some((option) => option.value === value)) select.value = value;
      };
      for (const name of ["of", "minus", "measure"]) if (query.has(name)) set(name, query.get(name));
      this.heat();
    }

    counts(run, measure) {
      const wanted = { total: "3", action: "13", subject: "23", neglect: "2", contamination: "1" }[measure];
      const table = new Map();
      this.data.items.forEach(([action, subject], number) => {
        const verdict = run.verdicts[number];
        if (verdict === "-") return;
        const key = `${action}/${subject}`;
        const [count, n] = table.get(key) ?? [0, 0];
        table.set(key, [count + wanted.includes(verdict), n + 1]);
      });
      return table;
    }

    heat() {
      const { data } = this;
      const { of, minus, measure } = this.heatState();
      const first = data.runs.find((run) => run.id === of);
      const second = data.runs.find((run) => run.id === minus);
      const one = this.counts(first, measure);
      const two = second && this.counts(second, measure);
      const bad = measure === "neglect" || measure === "contamination";
      const methods = second ? `${of},${minus}` : of;
      const value = (keys) => {
        const sum = (table) => keys.map((key) => table.get(key) ?? [0, 0]).reduce((a, b) => [a[0] + b[0], a[1] + b[1]], [0, 0]);
        const [count, n] = sum(one);
        if (!n) return null;
        if (!two) return { share: count / n, text: `${count}/${n}`, percent: `${Math.round((100 * count) / n)}` };
        const [other, m] = sum(two);
        if (!m) return null;
        const points = 100 * (count / n - other / m);
        const text = `${points > 0 ? "+" : points < 0 ? "−" : ""}${Math.abs(Math.round(points))}`;
        return { share: points / 100, text, percent: text };
      };
      const table = make("table", { class: "heat-table" });
      const title = `${measure} of ${first.name}${second ? ` minus ${second.name}, points` : ", images of those judged"}`;
      table.append(make("caption", {}, isolated(title)));
      const head = make("tr", {}, make("td"));
      data.subjects.forEach(([name]) => head.append(make("th", { scope: "col", title: name }, make("span", {}, isolated(name)))));
      head.append(make("th", { scope: "col" }, make("span", {}, "all")));
      table.append(make("thead", {}, head));
      const body = make("tbody");
      const square = (keys, values, words) => {
        const found = value(keys);
        const square = make("td");
        if (!found) { square.append(make("span", { class: "unjudged" }, "–")); return square; }
        const link = make("a", { href: address(data.number, "gallery", values), title: `${words}: ${found.text}` }, found.text);
        square.append(link);
        const strength = Math.min(1, Math.abs(found.share));
        const good = bad ? found.share < 0 : found.share > 0;
        const colour = two ? (good ? "--right" : "--wrong") : bad ? "--wrong" : "--right";
        if (strength) square.style.backgroundColor = `color-mix(in srgb, var(${colour}) ${Math.round(12 + 78 * strength)}%, var(--none-soft))`;
        if (strength > 0.45) square.className = "deep";
        return square;
      };
      data.actions.forEach(([action], a) => {
        const row = make("tr", {}, make("th", { scope: "row", title: action }, isolated(action)));
        data.subjects.forEach(([subject], s) => row.append(square([`${a}/${s}`], { action, subject, methods }, `${action}, ${subject}`)));
        const sum = value(data.subjects.map((_, s) => `${a}/${s}`));
        row.append(make("td", { class: "sum" }, sum ? sum.percent + (two ? "" : "%") : "–"));
        body.append(row);
      });
      const foot = make("tr", {}, make("th", { scope: "row" }, "all"));
      data.subjects.forEach((_, s) => {
        const sum = value(data.actions.map((__, a) => `${a}/${s}`));
        foot.append(make("td", { class: "sum" }, sum ? sum.percent : "–"));
      });
      foot.append(make("td", { class: "sum" }));
      body.append(foot);
      table.append(body);
      $(".heat-map", this.root).replaceChildren(table);
    }

    /* Gallery: which items */

    filters() {
      const values = {};
      for (const control of all("[data-filter]", this.root)) values[control.dataset.filter] = control.value.trim();
      const on = this.boxes.filter((box) => box.checked).map((box) => box.value);
      values.methods = on.length === this.boxes.length ? "" : on.join(",");
      return values;
    }

    setFilters(query) {
      for (const control of all("[data-filter]", this.root)) {
        control.value = query.get(control.dataset.filter) ?? "";
        if (control.value === "" && control.tagName === "SELECT") control.value = "";
        if (control.selectedIndex === -1) control.selectedIndex = 0;
      }
      const size = $("[data-filter=size]", this.root);
      size.value = query.get("size") ?? "";
      if (size.selectedIndex === -1) size.value = "";
      const methods = query.get("methods");
      const wanted = methods ? new Set(methods.split(",")) : null;
      this.boxes.forEach((box) => { box.checked = !wanted || wanted.has(box.value); });
      if (!this.boxes.some((box) => box.checked)) this.boxes.forEach((box) => { box.checked = true; });
    }

    filtered() {
      this.show();
      keepAddress(address(this.data.number, "gallery", this.filters()));
    }

    words(number) {
      const { data } = this;
      this.texts ??= new Map();
      if (!this.texts.has(number)) {
        const [a, s] = data.items[number];
        const saw = data.runs.flatMap((run) => (run.seen[number] ?? []).slice(0, 2).map((word) => data.words[word]));
        this.texts.set(number, lower([data.actions[a].join(" "), data.subjects[s].join(" "), this.count(number), data.prompts?.[number] ?? "", ...saw].join(" \n ")));
      }
      return this.texts.get(number);
    }

    matching(values) {
      const { data } = this;
      const runs = this.columns.map((number) => data.runs[number]);
      const words = values.q ? lower(values.q).split(/\s+/) : [];
      const test = (number) => {
        const [a, s] = data.items[number];
        if (values.action && data.actions[a][0] !== values.action) return false;
        if (values.subject && data.subjects[s][0] !== values.subject) return false;
        if (values.group && data.subjects[s][1] !== values.group) return false;
        if (values.verdict === "differ") {
          const said = new Set(runs.map((run) => run.verdicts[number]).filter((one) => one !== "-").map((one) => one === "3"));
          if (said.size < 2) return false;
        } else if (values.verdict === "judges") {
          const differs = (run) => (run.others[number] ?? []).some((other) => String(other[1]) !== run.verdicts[number]);
          if (!runs.some(differs)) return false;
        } else if (values.verdict) {
          if (!runs.some((run) => run.verdicts[number] === KINDS[values.verdict])) return false;
        }
        if (words.length) {
          const text = this.words(number);
          if (!words.every((word) => text.includes(word))) return false;
        }
        return true;
      };
      return data.items.map((_, number) => number).filter(test);
    }

    show() {
      const { data, sheet } = this;
      const values = this.filters();
      this.columns = [...this.boxes.keys()].filter((place) => this.boxes[place].checked);
      this.shown = this.matching(values);
      const pictures = this.shown.reduce((sum, number) => sum + this.columns.filter((run) => data.runs[run].verdicts[number] !== "-").length, 0);
      const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
      $(".count", this.root).textContent = `${plural(this.shown.length, "item")} of ${data.items.length.toLocaleString("en")}, ${plural(pictures, "image")}`;
      sheet.dataset.size = values.size;
      sheet.scrollTop = 0;
      const head = make("tr", {}, make("th", { scope: "col" }, "item"));
      for (const run of this.columns) head.append(make("th", { scope: "col", title: data.runs[run].name }, make("span", {}, isolated(data.runs[run].name))));
      this.body = make("tbody");
      this.drawn = 0;
      this.lastAction = -1;
      this.end = make("div", { class: "more faint small" });
      sheet.replaceChildren(make("table", {}, make("thead", {}, head), this.body), this.end);
      this.watch.disconnect();
      this.more();
      this.watch.observe(this.end);
    }

    more(count = CHUNK) {
      const { data } = this;
      for (const number of this.shown.slice(this.drawn, this.drawn + count)) {
        const [a, s] = data.items[number];
        if (a !== this.lastAction) {
          this.body.append(this.actionRow(a));
          this.lastAction = a;
        }
        const [subject, group] = data.subjects[s];
        const row = make("tr", { "data-item": number });
        const tools = make("button", { type: "button", class: "copy screen", "data-row": number, title: "Copy this row as Markdown" }, "copy");
        row.append(make("th", { scope: "row" }, isolated(subject), make("br"), make("span", { class: "faint" }, isolated(group), ` ${this.count(number)}`), make("br"), tools));
        for (const run of this.columns) row.append(this.square(run, number));
        this.body.append(row);
      }
      this.drawn = Math.min(this.shown.length, this.drawn + count);
      this.end.textContent = this.drawn < this.shown.length ? `${this.drawn} of ${this.shown.length}; more follow` : this.shown.length ? "" : "Nothing matches: clear a filter.";
    }

    actionRow(a) {
      const { data } = this;
      const [name, description] = data.actions[a];
      const box = make("div", { class: "exemplar-row" }, make("span", {}, make("b", {}, isolated(name)), " ", make("span", { class: "faint" }, isolated(description))));
      const exemplars = data.exemplars[a] ?? [];
      if (exemplars.length) {
        box.append(make("span", { class: "faint small" }, "exemplars"), make("span", { class: "strip" }, ...exemplars.map(([image, caption]) => make("img", { src: picture(image).small, alt: caption, title: caption, loading: "lazy", decoding: "async" }))));
      }
      return make("tr", { class: "action" }, make("th", { colspan: this.columns.length + 1, scope: "rowgroup" }, box));
    }

    /* An item's name in permalinks */
    key(number) {
      const [a, s, index, copy] = this.data.items[number];
      return `${this.data.actions[a][0]}/${this.data.subjects[s][0]}/${index}${copy ? `/${copy}` : ""}`;
    }

    /* Which image of its action and subject; with several noises, which of them */
    count(number) {
      const [, , index, copy] = this.data.items[number];
      return copy ? `#${index}.${copy}` : `#${index}`;
    }

    item(number) {
      const [a, s] = this.data.items[number];
      return `${this.data.actions[a][0]}, ${this.data.subjects[s][0]}, ${this.count(number)}`;
    }

    saw(run, number) {
      const seen = run.seen[number];
      if (!seen) return null;
      const word = (place) => this.data.words[seen[place]];
      const score = (place) => (seen[place] < 0 ? "" : (seen[place] / 1000).toFixed(2));
      return { action: word(0), subject: word(1), actionScore: score(2), subjectScore: score(3) };
    }

    square(place, number) {
      const run = this.data.runs[place];
      const verdict = run.verdicts[number];
      if (verdict === "-") return make("td", { class: "unjudged" }, "not judged");
      const source = picture(run.images[number]);
      const label = `${run.name}: ${this.item(number)}: ${WORDS[verdict]}`;
      const frame = make("span", { class: "frame" });
      if (source) frame.append(make("img", { src: source.small, alt: label, loading: "lazy", decoding: "async" }));
      else frame.append(make("span", { class: "gone" }, "image not kept"));
      const button = make("button", { type: "button", class: `plain picture v${verdict}`, "data-run": place, "data-number": number, "aria-label": label });
      button.append(frame, make("span", { class: "verdict" }, MARKS[verdict]));
      const saw = this.saw(run, number);
      const line = (word, score) => make("span", { class: "saw" }, isolated(word || "–"), ` ${score}`);
      button.append(line(saw.action, saw.actionScore), line(saw.subject, saw.subjectScore));
      for (const [judge, other] of run.others[number] ?? []) {
        if (String(other) !== verdict) button.append(make("span", { class: "saw other" }, isolated(judge), `: ${WORDS[other]}`));
      }
      return make("td", {}, button);
    }

    rowText(number) {
      const { data } = this;
      const lines = [["method", "item", "verdict", "judge saw", "action", "subject", "run"]];
      for (const place of this.columns ?? data.runs.keys()) {
        const run = data.runs[place];
        const saw = this.saw(run, number);
        if (!saw) continue;
        lines.push([run.name, this.item(number), WORDS[run.verdicts[number]], `${saw.action || "–"}, ${saw.subject || "–"}`, saw.actionScore, saw.subjectScore, run.id]);
      }
      return markdown(lines);
    }

    clicked(event) {
      const row = event.target.closest("button[data-row]");
      if (row) { copy(this.rowText(Number(row.dataset.row)), "row"); return; }
      const button = event.target.closest("button[data-number]");
      if (button) zoom.open(this, Number(button.dataset.run), Number(button.dataset.number));
    }

    /* Arrow keys walk from image to image. */
    walk(event) {
      const from = event.target.closest?.("button[data-number]");
      const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
      if (!from || !steps[event.key]) return;
      const [down, right] = steps[event.key];
      const item = this.shown.indexOf(Number(from.dataset.number)) + down;
      const column = this.columns.indexOf(Number(from.dataset.run)) + right;
      if (item >= this.drawn && item < this.shown.length) this.more();
      const to = $(`button[data-number="${this.shown[item]}"][data-run="${this.columns[column]}"]`, this.sheet);
      if (to) { event.preventDefault(); to.focus(); to.scrollIntoView({ block: "nearest", inline: "nearest" }); }
    }
  }

  /* One image in full */

  const zoom = {
    box: $("#zoom"),
    open(group, run, number) {
      this.group = group;
      this.draw(run, number);
      if (!this.box.open) this.box.showModal();
    },
    draw(run, number) {
      const { group, box } = this;
      const { data } = group;
      Object.assign(this, { run, number });
      const one = data.runs[run];
      const verdict = one.verdicts[number];
      const saw = group.saw(one, number);
      const source = picture(one.images[number]);
      $("#zoom-title").replaceChildren(isolated(one.name), ": ", isolated(group.item(number)));
      const image = $("figure img", box);
      image.hidden = !source;
      if (source) image.src = source.large;
      image.alt = `${one.name}: ${group.item(number)}`;
      const caption = $("figure figcaption", box);
      caption.className = verdict === "3" ? "right" : "wrong";
      caption.textContent = `${MARKS[verdict]}${source ? "" : " (image not kept)"}`;
      const facts = [["verdict", WORDS[verdict]]];
      if (saw) {
        facts.push(["action seen", `${saw.action || "–"}  (score of the item's: ${saw.actionScore || "–"})`]);
        facts.push(["subject seen", `${saw.subject || "–"}  (score of the item's: ${saw.subjectScore || "–"})`]);
      }
      for (const [judge, other, action, subject] of one.others[number] ?? []) facts.push([`${judge} judge`, `${WORDS[other]}: ${action || "–"}, ${subject || "–"}`]);
      if (data.prompts?.[number]) facts.push(["prompt in words", data.prompts[number]]);
      facts.push(["seed of the noise", data.seeds[number]], ["run", one.id]);
      const list = $("dl", box);
      list.replaceChildren(...facts.flatMap(([name, value]) => [make("dt", {}, isolated(name)), make("dd", {}, isolated(value))]));
      const strip = data.runs.map((other, place) => {
        const own = picture(other.images[number]);
        const button = make("button", { type: "button", "aria-current": place === run ? "true" : false, "data-to": place, title: `${other.name}: ${WORDS[other.verdicts[number]]}` });
        if (own) button.append(make("img", { src: own.small, alt: "" }));
        button.append(make("span", {}, isolated(other.title)), make("span", { class: other.verdicts[number] === "3" ? "right" : "wrong" }, MARKS[other.verdicts[number]]));
        button.disabled = other.verdicts[number] === "-";
        return button;
      });
      $("[data-strip=methods]", box).replaceChildren(...strip);
      const exemplars = data.exemplars[data.items[number][0]] ?? [];
      const place = $("[data-strip=exemplars]", box);
      place.previousElementSibling.hidden = !exemplars.length;
      place.replaceChildren(...exemplars.map(([one_, text]) => make("img", { src: picture(one_).small, alt: text, title: text })));
      const at = group.shown.indexOf(number);
      $("[data-zoom=place]", box).textContent = `${at + 1} of ${group.shown.length}`;
      $("[data-zoom=previous]", box).disabled = at <= 0;
      $("[data-zoom=next]", box).disabled = at >= group.shown.length - 1;
      keepAddress(this.link());
    },
    link() {
      const { group } = this;
      const values = { item: group.key(this.number), run: group.data.runs[this.run].id };
      return address(group.data.number, "gallery", { ...group.filters(), ...values });
    },
    step(items, runs) {
      const { group } = this;
      const number = group.shown[group.shown.indexOf(this.number) + items];
      if (number === undefined) return;
      let run = this.run;
      for (let left = Math.abs(runs); left; ) {
        run += Math.sign(runs);
        if (run < 0 || run >= group.data.runs.length) return;
        if (group.data.runs[run].verdicts[number] !== "-") left -= 1;
      }
      this.draw(run, number);
    },
    closed() {
      const { group } = this;
      if (!group) return;
      keepAddress(address(group.data.number, "gallery", group.filters()));
      const at = group.shown.indexOf(this.number);
      while (at >= group.drawn) group.more();
      $(`button[data-number="${this.number}"][data-run="${this.run}"]`, group.sheet)?.focus();
    },
  };
  zoom.box.addEventListener("close", () => zoom.closed());
  zoom.box.addEventListener("click", (event) => {
    if (event.target === zoom.box) { zoom.box.close(); return; }
    const to = event.target.closest("button[data-to]");
    if (to) { zoom.draw(Number(to.dataset.to), zoom.number); return; }
    const does = event.target.closest("button[data-zoom]")?.dataset.zoom;
    if (does === "close") zoom.box.close();
    if (does === "previous") zoom.step(-1, 0);
    if (does === "next") zoom.step(1, 0);
    if (does === "copy") copy(zoom.group.rowText(zoom.number), "row");
    if (does === "link") copy(location.href, "link");
  });
  zoom.box.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (steps[event.key] && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      zoom.step(...steps[event.key]);
    }
  });

  /* The page */

  const groups = DATA.groups.map((data) => new Group(data));

  function chooseGroup(number) {
    state.group = number;
    for (const part of all("[data-group]")) part.hidden = Number(part.dataset.group) !== number;
    const select = $("#group");
    if (select) select.value = String(number);
    for (const link of all("nav [data-section]")) {
      const section = link.dataset.section;
      const own = document.getElementById(`g${number}-${section}`);
      link.setAttribute("href", own ? `#${own.id}` : `#${section}`);
      link.hidden = !own && !document.getElementById(section);
    }
    groups[number].prepare();
  }

  function follow() {
    const found = readAddress();
    const first = found ?? { group: state.group, section: "", query: new URLSearchParams() };
    chooseGroup(first.group);
    const group = groups[first.group];
    if (zoom.box.open) zoom.box.close();
    if (first.section === "heat" || !group.heated) group.setHeat(first.section === "heat" ? first.query : new URLSearchParams());
    group.heated = true;
    if (first.section === "gallery" || !group.opened) {
      const query = first.section === "gallery" ? first.query : new URLSearchParams();
      group.setFilters(query);
      group.show();
      group.opened = true;
      const item = query.get("item");
      if (item) {
        const number = group.data.items.findIndex((_, place) => group.key(place) === item);
        const run = Math.max(0, group.data.runs.findIndex((one) => one.id === query.get("run")));
        if (number >= 0) {
          if (!group.shown.includes(number)) { group.setFilters(new URLSearchParams()); group.show(); }
          zoom.open(group, run, number);
        }
      }
    }
    if (found) {
      const target = document.getElementById(location.hash.slice(1).split("?")[0]);
      if (target?.tagName === "DETAILS") target.open = true;
      target?.scrollIntoView({ block: "start" });
    }
  }

  $("#group")?.addEventListener("change", (event) => { location.hash = `#g${event.target.value}-board`; });
  $("#theme").addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
    document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
  });
  addEventListener("hashchange", follow);
  addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName ?? "");
    if (event.key !== "/" || typing || zoom.box.open || !groups.length) return;
    event.preventDefault();
    const box = $("[data-filter=q]", groups[state.group].root);
    box.scrollIntoView({ block: "center" });
    box.focus();
  });
  addEventListener("beforeprint", () => {
    const group = groups[state.group];
    if (group?.body) group.more(Math.max(0, 60 - group.drawn));
    for (const image of document.images) image.loading = "eager";
  });
  document.addEventListener("click", (event) => {
    for (const open of all("details.methods[open]")) if (!open.contains(event.target)) open.open = false;
  });
  if (groups.length) follow();
  document.documentElement.dataset.ready = "true";
})();
