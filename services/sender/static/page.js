// The page of the sender: hide a face, look at the stego, recover it at the receiver. No library, no storage.
// Secrets live in the form's fields and in request bodies; nothing is kept when the page is closed.

const byId = (id) => document.getElementById(id);
const field = Object.fromEntries(
  ["identity", "disguise", "first-prompt", "other-prompt", "recipe", "key", "receiver-key"].map((id) => [id, byId(id)]),
);
const state = { settings: null, face: null, stego: null, job: null, busy: false, reading: null, words: null, suggested: "" };
const EDGE = 256; // pixels of the face's canvas
const WORDS = 5; // of a suggested pass phrase
const LISTED = 10; // of my jobs, at each service
const ENDED = new Set(["done", "failed", "cancelled", "expired"]);

class Problem extends Error {
  constructor({ code = "unreachable", title, detail = "" }) {
    super(title);
    Object.assign(this, { code, title, detail });
  }
}

// ---- requests

const SENDER = {
  name: "sender",
  base: () => "",
  key: () => field.key.value.trim(),
};
const RECEIVER = {
  name: "receiver",
  base: () => state.settings.receiver,
  key: () => field["receiver-key"].value.trim() || field.key.value.trim(),
};

async function ask(service, path, { headers = {}, ...options } = {}) {
  const key = service.key();
  let answer;
  try {
    answer = await fetch(service.base() + path, {
      ...options,
      headers: key ? { ...headers, "X-API-Key": key } : headers,
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
    });
  } catch {
    const allow = service === RECEIVER ? " It must also allow this page (DDSR_ALLOW_ORIGINS)." : "";
    throw new Problem({ title: `The ${service.name} cannot be reached`, detail: `Is it running?${allow}` });
  }
  if (!answer.ok) throw new Problem(await problemOf(answer));
  return answer;
}

async function problemOf(answer) {
  try {
    const { code, title, detail, errors } = await answer.json();
    const places = (errors ?? []).map(({ loc }) => loc.at(-1)).join(", ");
    return { code, title, detail: places ? `Look at: ${places}` : detail };
  } catch {
    return { code: String(answer.status), title: "The service answered with an error" };
  }
}

/** Submits a form, follows its job by server-sent events, and resolves to {blob, recipe, authentic}. */
async function run(service, path, body, { onSubmitted = () => {}, onView }) {
  const submitted = await ask(service, path, { method: "POST", body, headers: { Prefer: "respond-async" } });
  if (submitted.status === 200) return pictureOf(submitted); // there already
  let view = await submitted.json();
  state.job = { service, address: view.links.self };
  onSubmitted(view);
  onView(view);
  try {
    for await (const next of events(await ask(service, view.links.events))) onView((view = next));
  } catch (error) {
    if (error instanceof Problem && error.code !== "unreachable") throw error;
  }
  while (!ENDED.has(view.state)) { // the stream broke: ask instead
    onView((view = await (await ask(service, `${view.links.self}?wait=5`)).json()));
  }
  if (view.error?.code === "not-authentic") throw new Problem(view.error); // an answer that is awaited
  return pictureOf(await ask(service, view.links.result));
}

async function pictureOf(answer) {
  const authentic = answer.headers.get("DDSR-Authentic"); // "true" or "false" of sealed, null of the others
  return { blob: await answer.blob(), recipe: answer.headers.get("DDSR-Recipe"), authentic };
}

async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ; ) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (text + value.replaceAll("\r", "")).split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
      if (data) yield JSON.parse(data);
    }
  }
}

// ---- what is shown

/** Where a part of the page says what happens: progress, a line that is announced, a problem with a way out. */
function place(id) {
  const box = byId(id);
  box.append(byId("now").content.cloneNode(true));
  const [bar, progress, step, status, problem] = [".bar", "progress", ".step", ".status", ".problem"].map((one) =>
    box.querySelector(one),
  );
  box.querySelector(".cancel").addEventListener("click", cancel);
  return { bar, progress, step, status, problem };
}

const NOW = { pictures: place("now-pictures"), hide: place("now-hide"), recover: place("now-recover"), squeeze: place("now-squeeze"), jobs: place("now-jobs") };

function say(now, text) {
  now.status.textContent = text;
}

function clear() {
  for (const now of Object.values(NOW)) {
    say(now, "");
    now.problem.replaceChildren();
  }
  for (const input of Object.values(field)) input.removeAttribute("aria-invalid");
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

/** Scrolls to what is not to be seen. The focus stays where it is. */
function bringIntoView(target) {
  const { top, bottom } = target.getBoundingClientRect();
  if (top >= 0 && bottom <= innerHeight) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  target.scrollIntoView({ block: "center", behavior: calm ? "auto" : "smooth" });
}

/** The problem in words, with a way out where there is one: [label, action]. */
function showProblem(now, problem, way) {
  say(now, "");
  const box = now.problem;
  box.replaceChildren(element("b", problem.title));
  if (problem.detail && problem.detail !== problem.title) box.append(element("span", problem.detail));
  if (problem.code) box.append(element("code", problem.code));
  if (way) {
    const button = element("button", way[0]);
    button.type = "button";
    button.addEventListener("click", way[1]);
    box.append(button);
  }
  bringIntoView(box);
}

const WAITING = new Set(["no-worker", "queue-full", "queue-unavailable", "too-busy", "rate-limited", "not-ready", "worker-lost",
  "job-timeout", "unreachable"]);

function wayOut({ code }, again) {
  if (code === "unauthenticated") return ["Enter a key", () => openAt("keys", "key")];
  if (code === "missing-recipe" || code === "invalid-recipe") return ["Enter the recipe", () => openAt("recover-more", "recipe")];
  if (code === "channel-too-poor") return ["Choose another channel", () => openAt("hide-more", "face-size")];
  return WAITING.has(code) ? ["Try again", again] : undefined;
}

function openAt(details, id) {
  byId(details).open = true;
  byId(id).focus();
}

/** Shows progress; says a quarter at a time, since every step would drown a screen reader. */
function follower(now, what) {
  let said = "";
  return (view) => {
    const { state: phase, position, step, steps } = view;
    const share = phase === "done" ? 1 : steps ? (step ?? 0) / steps : null;
    if (share === null) now.progress.removeAttribute("value");
    else now.progress.value = share;
    now.step.textContent = phase === "running" && steps ? `${step ?? 0} of ${steps}` : phase === "queued" ? "waiting" : "";
    const quarter = share === null ? 0 : Math.floor(share * 4) * 25;
    const text = phase === "queued" ? `Waiting, place ${position ?? 1}` : phase === "running" ? `${what}: ${quarter} percent` : said;
    if (text !== said) say(now, (said = text));
  };
}

/** A button that works is not `disabled`: it would lose the focus. */
function setBusy(now, frame) {
  state.busy = now !== null;
  for (const other of Object.values(NOW)) {
    if (other !== now && other.bar.contains(document.activeElement)) other.bar.closest("form, section").querySelector("button.primary, button.secondary").focus();
    other.bar.hidden = other !== now;
    other.progress.removeAttribute("value");
    other.step.textContent = "";
  }
  for (const other of document.querySelectorAll(".frame")) other.classList.toggle("drawing", other === frame);
  byId("file").disabled = byId("stego-file").disabled = state.busy;
  showButtons();
}

function showButtons() {
  const ready = { "hide-button": true, "recover-button": state.stego, "other-button": state.stego, "squeeze-button": state.stego };
  for (const [id, is] of Object.entries(ready)) byId(id).setAttribute("aria-disabled", String(state.busy || !is));
}

function show(id, blob, alt) {
  const image = byId(id);
  if (image.src) URL.revokeObjectURL(image.src);
  image.hidden = !blob;
  image.alt = blob ? alt : "";
  if (blob) image.src = URL.createObjectURL(blob);
  else image.removeAttribute("src");
}

function showLink(id, image) {
  const link = byId(id);
  link.hidden = !image;
  if (image) link.href = byId(image).src;
  else link.removeAttribute("href");
}

function caption(frame, title, note) {
  byId(frame).querySelector("figcaption b").textContent = title;
  byId(frame).querySelector("figcaption .fine").textContent = note;
}

const EMPTY = {
  first: ["Recovered", "what the prompt gives"],
  other: ["Recovered again", "what another prompt gives"],
  after: ["Recovered from it", "what the prompt gives"],
};
const REFUSED = "Wrong prompt, or the picture was changed";

/** Shows what a prompt gave, in its frame, and returns the line that says so. `found`: null before it gave anything. */
function showFound(id, found) {
  const frame = `frame-${id}`;
  const verdict = byId(frame).querySelector(".verdict");
  const refused = found?.authentic === "refused";
  verdict.hidden = !refused;
  verdict.textContent = refused ? REFUSED : "";
  show(id, refused ? null : found?.blob, "What this prompt gave");
  if (!found) {
    caption(frame, ...EMPTY[id]);
    return "";
  }
  if (refused) {
    caption(frame, "This prompt gave: nothing", "no face was opened");
    return `${REFUSED}.`;
  }
  if (found.authentic === "true") {
    caption(frame, "This prompt gave: authentic", "the face that the sender hid");
    return "Authentic: this is the face that the sender hid.";
  }
  if (found.authentic === "false") {
    caption(frame, "This prompt gave: a stranger", "wrong prompt, or the picture was changed");
    return `${REFUSED}: a stranger was drawn.`;
  }
  caption(frame, "This prompt gave:", "any prompt gives a face: compare it");
  return "This prompt gave a face. Any prompt gives one: only a comparison tells whose it is.";
}

/** Draws the part of the photograph that is hidden: the service's box, or the middle. */
function drawFace(box) {
  const { bitmap } = state.face;
  if (!bitmap) return;
  const side = box?.width ?? Math.min(bitmap.width, bitmap.height);
  const left = box?.left ?? (bitmap.width - side) / 2;
  const top = box?.top ?? (bitmap.height - side) / 2;
  const canvas = byId("face");
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, left, top, side, side, 0, 0, EDGE, EDGE);
  canvas.hidden = false;
  byId("frame-face").classList.add("filled");
}

// ---- files

/** The kind of a picture file by its first bytes; null: none that the services take. */
async function kindOf(file) {
  const start = String.fromCharCode(...new Uint8Array(await file.slice(0, 32).arrayBuffer()));
  if (start.startsWith("\x89PNG")) return "png";
  if (start.startsWith("\xff\xd8\xff")) return "jpeg";
  if (start.startsWith("RIFF") && start.slice(8, 12) === "WEBP") return "webp";
  return start.slice(4, 8) === "ftyp" && /hei[cxms]|hev[cx]|mif1|msf1|avi[fs]/.test(start.slice(8)) ? "heif" : null;
}

/** The recipe in the texts of a PNG, as the sender writes it; "": none. Of other files the receiver finds it. */
function recipeIn(buffer) {
  const view = new DataView(buffer);
  for (let at = 8; at + 12 <= buffer.byteLength; at += 12 + view.getUint32(at)) {
    const long = Math.min(view.getUint32(at), buffer.byteLength - at - 8);
    const kind = String.fromCharCode(...new Uint8Array(buffer, at + 4, 4));
    const text = ["iTXt", "tEXt"].includes(kind) && long < 8192
      ? new TextDecoder("latin1").decode(new Uint8Array(buffer, at + 8, long)) : "";
    const found = text.match(/ddsr[0-9]{1,3}\.[A-Za-z0-9_-]+/);
    if (found) return found[0];
  }
  return "";
}

/** Whether a chosen file can be used; says why not. `kinds`: in words of people. */
async function usable(file, known, kinds) {
  const most = state.settings?.max_bytes;
  if (most && file.size > most) {
    refuse("The picture is too large", `It may have ${(most / 2 ** 20).toFixed(0)} MiB.`);
    return false;
  }
  if (known.includes(await kindOf(file))) return true;
  refuse("This file cannot be used", kinds);
  return false;
}

function refuse(title, detail) {
  showProblem(NOW.pictures, new Problem({ code: "", title, detail }));
}

/** Reads a file that was chosen; what is asked for meanwhile waits for it. */
function take(read, file) {
  if (file && !state.busy) state.reading = read(file);
}

async function chooseFace(file) {
  clear();
  if (!(await usable(file, ["png", "jpeg", "webp", "heif"], "Choose a photograph: JPEG, PNG, WebP, HEIC."))) return;
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
  if (!bitmap && (await kindOf(file)) !== "heif") { // of which not every browser knows how to show them
    refuse("The picture is damaged", "Choose another photograph: JPEG, PNG, WebP, HEIC.");
    return;
  }
  state.face = { file, bitmap };
  setStego(null);
  byId("face").hidden = true;
  byId("frame-face").classList.remove("filled");
  byId("file-note").textContent = bitmap ? file.name : `${file.name} (no preview)`;
  if (bitmap) drawFace(null);
  say(NOW.pictures, bitmap ? "Chosen. Now the prompts." : "This browser cannot show the photograph. The sender can read it.");
}

async function openStego(file) {
  clear();
  if (!(await usable(file, ["png", "jpeg", "webp"], "Choose a stego: PNG, JPEG, WebP."))) return;
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) {
    refuse("The picture is damaged", "Choose another stego: PNG, JPEG, WebP.");
    return;
  }
  bitmap.close();
  setStego({ blob: file, recipe: recipeIn(await file.arrayBuffer()), opened: true }, "The stego of your file", "opened");
  say(NOW.pictures, "The stego is open. Type the prompt under which it was hidden.");
}

function setStego(stego, alt, note = "what is sent") {
  state.stego = stego;
  show("stego", stego?.blob, alt);
  byId("stego-note").textContent = note;
  field.recipe.value = stego?.recipe ?? "";
  for (const id of ["first", "other", "after"]) showFound(id, null);
  show("jpeg", null);
  byId("jpeg-note").textContent = "what arrives";
  for (const id of ["save-face", "another", "other-field"]) byId(id).hidden = true;
  showLink("save-stego", stego && !stego.opened ? "stego" : null);
  byId("squeeze").hidden = !stego || !state.settings?.receiver;
  showButtons();
}

// ---- a pass phrase

/** A whole number below `limit`, each as likely as the other: what would favour the small ones is drawn again. */
function randomBelow(limit) {
  const most = 2 ** 32 - (2 ** 32 % limit);
  for (const drawn = new Uint32Array(1); ; ) {
    crypto.getRandomValues(drawn);
    if (drawn[0] < most) return drawn[0] % limit;
  }
}

/** Puts random words behind the description that was typed, in place of those of the last time. */
async function suggest() {
  clear();
  try {
    state.words ??= (await (await ask(SENDER, "/words.txt")).text()).split("\n").filter(Boolean);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    showProblem(NOW.hide, error, wayOut(error, suggest));
    return;
  }
  const { words } = state;
  const phrase = Array.from({ length: WORDS }, () => words[randomBelow(words.length)]).join(" ");
  const typed = field.identity.value;
  const description = (state.suggested && typed.endsWith(state.suggested) ? typed.slice(0, -state.suggested.length) : typed).trim().replace(/,$/, "");
  state.suggested = phrase;
  field.identity.value = description ? `${description}, ${phrase}` : phrase;
  reveal("identity", true);
  const bits = Math.floor(WORDS * Math.log2(words.length));
  byId("strength").textContent = `${WORDS} of ${words.length.toLocaleString("en")} words, drawn at random: ${bits} bits. Write the prompt down: nobody can replace it.`;
}

function reveal(id, shown) {
  byId(id).type = shown ? "text" : "password";
  document.querySelector(`[data-reveal=${id}]`).setAttribute("aria-pressed", String(shown));
}

// ---- what is done

function demand(now, id, why) {
  const input = field[id];
  if (input.value.trim()) return true;
  input.setAttribute("aria-invalid", "true");
  input.focus();
  say(now, why);
  return false;
}

/** One piece of work: its frame breathes, progress is shown beside the button, a problem offers a way out. */
async function work(now, frame, again, job) {
  clear();
  setBusy(now, byId(frame));
  say(now, "Sending");
  try {
    say(now, await job());
    bringIntoView(byId(frame));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.code === "job-cancelled") say(now, "Cancelled");
    else showProblem(now, error, wayOut(error, again));
  } finally {
    state.job = null;
    setBusy(null, null);
  }
}

const chosen = (name) => document.querySelector(`input[name=${name}]:checked`).value;

function hideForm() {
  const body = new FormData();
  body.set("image", state.face.file, "face");
  body.set("identity_prompt", field.identity.value);
  body.set("disguise_prompt", field.disguise.value);
  body.set("crop", chosen("crop"));
  body.set("format", "png");
  body.set("scheme", chosen("scheme"));
  if (chosen("scheme") === "sealed") {
    body.set("channel", chosen("channel"));
    body.set("face_size", byId("face-size").value);
  }
  return body;
}

async function hide() {
  await state.reading;
  if (state.busy) return;
  clear();
  if (!state.face) {
    say(NOW.hide, "Choose a face first");
    byId("file").focus();
    return;
  }
  if (!demand(NOW.hide, "identity", "The identity prompt is missing")) return;
  if (!demand(NOW.hide, "disguise", "The disguise prompt is missing")) return;
  const body = hideForm();
  setStego(null);
  await work(NOW.hide, "frame-stego", hide, async () => {
    let middle = false;
    const onSubmitted = ({ crop }) => {
      middle = body.get("crop") === "auto" && crop?.of === "centre";
      drawFace(crop);
    };
    const stego = await run(SENDER, "/hide", body, { onSubmitted, onView: follower(NOW.hide, "Drawing the stego") });
    const channel = body.get("channel");
    const way = channel ? `${body.get("scheme")}, channel ${channel}` : body.get("scheme");
    setStego({ ...stego, channel }, `The stego, drawn as: ${body.get("disguise_prompt")}`, `scheme ${way}`);
    field["first-prompt"].value = body.get("identity_prompt");
    return `${middle ? "Not exactly one face was found: the middle of the picture is hidden." : "The face is hidden."} Save the stego, or recover it.`;
  });
}

/** Asks the receiver what a prompt gives from a stego. A refusal of `sealed` is an answer, too. */
async function askFor(blob, prompt, now) {
  const body = new FormData();
  body.set("stego", blob, "stego");
  body.set("identity_prompt", prompt);
  if (field.recipe.value.trim()) body.set("recipe", field.recipe.value.trim());
  if (byId("decoy").checked) body.set("decoy", "true");
  try {
    return await run(RECEIVER, "/recover", body, { onView: follower(now, "Recovering") });
  } catch (error) {
    if (error.code === "not-authentic") return { authentic: "refused" };
    throw error;
  }
}

/** `id`: the frame, and the prompt of the form, `first` or `other`. */
async function recover(id) {
  const now = NOW.recover;
  await state.reading;
  if (state.busy) return;
  clear();
  if (!state.stego) {
    say(now, "Hide a face, or open a stego first");
    return;
  }
  if (!demand(now, `${id}-prompt`, "The prompt is missing")) return;
  showFound(id, null);
  if (id === "first") showLink("save-face", null);
  await work(now, `frame-${id}`, () => recover(id), async () => {
    const found = await askFor(state.stego.blob, field[`${id}-prompt`].value, now);
    const line = showFound(id, found);
    if (id === "first") showLink("save-face", found.blob ? "first" : null);
    byId("another").hidden = !byId("other-field").hidden;
    return line;
  });
}

/** Saves the stego again as JPEG 80, as a messenger would, and asks what the prompt gives from that. */
async function squeeze() {
  const now = NOW.squeeze;
  if (state.busy || !state.stego) return;
  clear();
  if (!demand(now, "first-prompt", "The prompt of the recover form is missing")) return;
  showFound("after", null);
  await work(now, "frame-after", squeeze, async () => {
    const jpeg = await asJpeg(state.stego.blob, 0.8);
    show("jpeg", jpeg, "The stego after JPEG 80");
    byId("jpeg-note").textContent = `${kilobytes(jpeg)} in place of ${kilobytes(state.stego.blob)}`;
    const found = await askFor(jpeg, field["first-prompt"].value, now);
    const line = showFound("after", found);
    const lossless = found.authentic !== "true" && state.stego.channel === "lossless";
    return lossless ? `${line} It was hidden for the channel lossless. Hide it for the channel jpeg.` : line;
  });
}

const kilobytes = ({ size }) => `${Math.max(1, Math.round(size / 1000))} kB`;

async function asJpeg(blob, quality) {
  const bitmap = await createImageBitmap(blob);
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", quality));
}

async function cancel() {
  if (!state.job) return;
  const { service, address } = state.job;
  await ask(service, address, { method: "DELETE" }).catch(() => {});
}

// ---- my jobs

async function listJobs() {
  const services = state.settings?.receiver ? [SENDER, RECEIVER] : [SENDER];
  NOW.jobs.problem.replaceChildren();
  try {
    const found = await Promise.all(services.map(async (service) => {
      const { jobs } = await (await ask(service, `/jobs?limit=${LISTED}`)).json();
      return jobs.map((job) => ({ service, job, time: Date.parse(job.created) }));
    }));
    const jobs = found.flat().sort((one, other) => other.time - one.time);
    byId("job-list").replaceChildren(...jobs.map(jobLine));
    say(NOW.jobs, jobs.length ? "" : "There are no jobs.");
  } catch (error) {
    showProblem(NOW.jobs, error, wayOut(error, listJobs));
  }
}

function jobLine({ service, job, time }) {
  const line = element("li", "");
  const name = `${job.kind === "hide" ? "Hide" : "Recover"}, ${new Date(time).toLocaleTimeString()}`;
  line.append(element("b", name), element("span", job.error ? `${job.state}: ${job.error.title}` : job.state));
  const offer = (label, action) => {
    const button = element("button", label);
    button.type = "button";
    button.className = "quiet";
    button.setAttribute("aria-label", `${label}: ${name}`);
    button.addEventListener("click", () => action().catch((error) => showProblem(NOW.jobs, error)));
    line.append(button);
  };
  if (!ENDED.has(job.state)) {
    offer("Cancel", async () => {
      await ask(service, job.links.self, { method: "DELETE" });
      byId("jobs-button").focus(); // this line goes
      await listJobs();
    });
  }
  if (job.state === "done" && job.kind === "hide") {
    offer("Open", async () => {
      if (state.busy) return;
      const { blob, recipe } = await pictureOf(await ask(service, job.links.result));
      setStego({ blob, recipe }, "The stego of an earlier job");
      say(NOW.jobs, "The stego is open, above.");
    });
  }
  return line;
}

// ---- wiring

byId("jobs").addEventListener("toggle", () => {
  if (byId("jobs").open) listJobs();
});
byId("jobs-button").addEventListener("click", listJobs);

byId("hide").addEventListener("submit", (event) => {
  event.preventDefault();
  hide();
});
byId("recover").addEventListener("submit", (event) => {
  event.preventDefault();
  recover(document.activeElement === field["other-prompt"] ? "other" : "first");
});
byId("key-form").addEventListener("submit", (event) => event.preventDefault());
byId("other-button").addEventListener("click", () => recover("other"));
byId("another").addEventListener("click", () => {
  byId("other-field").hidden = false;
  byId("another").hidden = true;
  field["other-prompt"].focus();
});
byId("squeeze-button").addEventListener("click", squeeze);
byId("suggest").addEventListener("click", suggest);
byId("file").addEventListener("change", (event) => take(chooseFace, event.target.files[0]));
byId("stego-file").addEventListener("change", (event) => take(openStego, event.target.files[0]));
field.identity.addEventListener("input", () => {
  byId("strength").textContent = ""; // it was said of another text
});
for (const radio of document.querySelectorAll("input[name=scheme]")) radio.addEventListener("change", showSealed);

function showSealed() {
  byId("sealed-only").hidden = chosen("scheme") !== "sealed";
}

/** A file that is let go over `target` goes to `read`. */
function takesDrops(target, read) {
  for (const name of ["dragenter", "dragover"]) {
    target.addEventListener(name, (event) => {
      event.preventDefault();
      target.classList.add("over");
    });
  }
  for (const name of ["dragleave", "drop"]) target.addEventListener(name, () => target.classList.remove("over"));
  target.addEventListener("drop", (event) => take(read, event.dataTransfer.files[0]));
}

takesDrops(byId("frame-face"), chooseFace);
takesDrops(byId("frame-stego"), openStego);
takesDrops(byId("recover"), openStego);
for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault()); // a miss must not open the file
document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (!file) return;
  event.preventDefault();
  take(openStego, file);
});

for (const button of document.querySelectorAll("[data-reveal]")) {
  button.addEventListener("click", () => reveal(button.dataset.reveal, byId(button.dataset.reveal).type === "password"));
}
for (const chip of document.querySelectorAll("[data-disguise]")) {
  chip.addEventListener("click", () => {
    field.disguise.value = chip.textContent;
  });
}

async function start() {
  say(NOW.pictures, "Choose a face to begin.");
  try {
    state.settings = await (await ask(SENDER, "/page.json")).json();
  } catch (error) {
    showProblem(NOW.pictures, error, ["Try again", () => { clear(); start(); }]);
    return;
  }
  const { receiver, keys, scheme } = state.settings;
  document.querySelector(`input[name=scheme][value=${scheme}]`).checked = true;
  showSealed();
  byId("no-receiver").hidden = Boolean(receiver);
  byId("recovery").hidden = !receiver;
  byId("keys").open = keys;
  document.documentElement.dataset.ready = "1";
}

setBusy(null, null);
start();
