"use strict";
// Shows what the server renders, asks for it again every few seconds, and sends searches and moves. Nothing else is asked.
(() => {
  const find = id => document.getElementById(id);
  const keyed = document.body.dataset.keys === "required", operated = document.body.dataset.operators === "yes";
  const REFRESH = 3000, LONGEST = 30000, KEY = "embridge-key";
  const MOVES = {
    pause: ["Pause the backfill?", "Queries are answered as before. The controller stops after its batch.", "Pause"],
    resume: ["Let the backfill go on?", "Where its controller has ended, call embridge apply again, too.", "Resume"],
    canary: ["Change the canary?", "Gates have to hold where it rises. The next embridge apply sets it as its settings say.", "Change"],
    rollback: ["Roll back?", "The old model answers everything from the old rows, which are all there. New rows are kept.", "Roll back"],
  };
  const shown = new Map();
  let wait = REFRESH, timer = 0, latest = 0, searches = 0, move = "", opener = null, title = null;

  const ask = async (method, path, body, more = {}) => {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...more, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const answer = await fetch(path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store", credentials: "omit", redirect: "error", signal: AbortSignal.timeout(90000),
    });
    const data = await answer.json().catch(() => ({}));
    if (answer.ok) return data;
    throw Object.assign(new Error(data.error?.message ?? `status ${answer.status}`), { code: data.error?.code });
  };

  const put = (place, html) => {  // a box that scrolls keeps its place and its focus
    const boxes = [...place.querySelectorAll(".wide")];
    const left = boxes.map(box => box.scrollLeft), focused = boxes.indexOf(document.activeElement);
    place.innerHTML = html;
    place.querySelectorAll(".wide").forEach((box, i) => {
      box.scrollLeft = left[i] ?? 0;
      if (i === focused) box.focus({ preventScroll: true });
    });
  };

  const show = data => {
    for (const [name, html] of Object.entries(data.parts)) {
      const place = document.querySelector(`[data-part="${name}"]`);
      if (place && shown.get(name) !== html) put(place, html);
      shown.set(name, html);
    }
    find("title").textContent = data.title;
    document.title = `${data.title} · Embridge`;
    if (title !== null && title !== data.title) find("live").textContent = `The rollout is now: ${data.title}`;
    title = data.title;
    for (const button of document.querySelectorAll("[data-move]"))
      button.disabled = !operated || !data.moves.includes(button.dataset.move);
    const canary = data.status?.state?.canary;
    if (canary !== undefined && find("share") && !find("move").open) find("share").value = +(100 * canary).toFixed(4);
  };

  const lock = message => {
    sessionStorage.removeItem(KEY);
    find("content").hidden = true;
    find("unlock").hidden = false;
    find("key-error").textContent = message;
    find("key").focus();
  };

  const refresh = async () => {
    clearTimeout(timer);
    if (keyed && !sessionStorage.getItem(KEY)) return lock("");
    const mine = ++latest;
    try {
      const data = await ask("GET", "dashboard.json");
      if (mine !== latest) return;
      show(data);
      find("unlock").hidden = true;
      find("content").hidden = false;
      find("fresh").textContent = `updated ${new Date().toLocaleTimeString()}`;
      find("fresh").title = "";
      find("fresh").classList.remove("stale");
      wait = REFRESH;
    } catch (error) {
      if (mine !== latest) return;
      if (keyed && error.code === "invalid_api_key") return lock("The server does not know this key.");
      if (find("content").hidden) find("key-error").textContent = error.message;
      if (wait === REFRESH) find("live").textContent = `The server does not answer: ${error.message}`;
      find("fresh").textContent = "no answer, trying again";
      find("fresh").classList.add("stale");
      find("fresh").title = error.message;
      wait = Math.min(2 * wait, LONGEST);
    }
    if (!document.hidden) timer = setTimeout(refresh, wait);
  };

  const pictureOf = file => new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(new Error("the picture cannot be read"));
    reader.readAsDataURL(file);
  });

  const search = async event => {
    event.preventDefault();
    const file = find("picture")?.files[0], text = find("query").value;
    if (!file && !text.trim()) return find("query").focus();
    const mine = ++searches, answers = find("answers");
    answers.setAttribute("aria-busy", "true");
    find("found").textContent = "Searching…";
    try {
      const data = await ask("POST", "dashboard/search", file ? { image: await pictureOf(file) } : { text });
      if (mine !== searches) return;
      answers.innerHTML = data.html;
      const hits = data.answers.map(one => one.hits.length);
      find("found").textContent = `${hits[0]} hits by the old model, ${hits[1]} through the bridge, ${hits[2]} by the new model.`;
    } catch (error) {
      if (mine === searches) find("found").textContent = `No answer: ${error.message}`;
    }
    if (mine === searches) answers.removeAttribute("aria-busy");
  };

  const offer = button => {
    move = button.dataset.move;
    opener = button;
    const [name, about, confirm] = MOVES[move];
    find("move-title").textContent = name;
    find("move-about").textContent = about;
    find("confirm").textContent = confirm;
    find("confirm").classList.toggle("danger", move === "rollback");
    find("share-field").hidden = move !== "canary";
    find("share").required = move === "canary";
    find("move-error").textContent = "";
    find("move").showModal();
    find(move === "canary" ? "share" : "operator").focus();
  };

  const confirmed = async event => {
    event.preventDefault();
    const body = move === "canary" ? { share: find("share").valueAsNumber / 100 } : undefined;
    find("confirm").disabled = true;
    find("move-error").textContent = "";
    try {
      await ask("POST", `rollout/${move}`, body, { "Embridge-Operator-Key": find("operator").value });
      find("move").close();
      await refresh();
    } catch (error) {
      find("move-error").textContent = error.message;
    }
    find("confirm").disabled = false;
  };

  find("unlock").addEventListener("submit", event => {
    event.preventDefault();
    sessionStorage.setItem(KEY, find("key").value.trim());
    find("key").value = "";
    refresh();
  });
  find("search")?.addEventListener("submit", search);
  find("query")?.addEventListener("input", () => { if (find("picture")) find("picture").value = ""; });
  for (const button of document.querySelectorAll("[data-move]")) button.addEventListener("click", () => offer(button));
  find("move-form")?.addEventListener("submit", confirmed);
  find("cancel")?.addEventListener("click", () => find("move").close());
  find("move")?.addEventListener("close", () => {
    find("operator").value = "";
    opener?.focus();
  });
  document.addEventListener("visibilitychange", () => document.hidden ? clearTimeout(timer) : refresh());
  refresh();
})();
