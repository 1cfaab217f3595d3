// The page of the sender: hide a face, look at the stego, recover it at the receiver. No library, no storage.
// Secrets live in the form's fields and in request bodies; nothing is kept when the page is closed.

const byId = (id) => document.getElementById(id);
const field = Object.fromEntries(
  ["identity", "disguise", "right-prompt", "wrong-prompt", "key", "receiver-key"].map((id) => [id, byId(id)]),
);
const state = { settings: null, face: null, stego: null, job: null, busy: false };
const EDGE = 256; // pixels of the face's canvas

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

/** Submits a form, follows its job by server-sent events, and resolves to {blob, recipe}. */
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
  while (!["done", "failed", "cancelled", "expired"].includes(view.state)) { // the stream broke: ask instead
    onView((view = await (await ask(service, `${view.links.self}?wait=5`)).json()));
  }
  return pictureOf(await ask(service, view.links.result));
}

async function pictureOf(answer) {
  return { blob: await answer.blob(), recipe: answer.headers.get("DDSR-Recipe") };
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

function say(text) {
  byId("status").textContent = text;
}

function clearProblem() {
  byId("problem").replaceChildren();
  for (const input of Object.values(field)) input.removeAttribute("aria-invalid");
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

/** The problem in words, with a way out where there is one: [label, action]. */
function showProblem(problem, way) {
  say("");
  const box = byId("problem");
  box.replaceChildren(element("b", problem.title));
  if (problem.detail && problem.detail !== problem.title) box.append(element("span", problem.detail));
  if (problem.code) box.append(element("code", problem.code));
  if (way) {
    const button = element("button", way[0]);
    button.type = "button";
    button.addEventListener("click", way[1]);
    box.append(button);
  }
  box.focus();
}

const WAITING = new Set(["no-worker", "queue-full", "queue-unavailable", "too-busy", "rate-limited", "not-ready", "worker-lost",
  "job-timeout", "unreachable"]);

function wayOut(problem, again) {
  if (problem.code === "no-face" || problem.code === "several-faces") {
    return ["Use the middle of the picture", () => {
      document.querySelector("input[name=crop][value=centre]").checked = true;
      again();
    }];
  }
  if (problem.code === "unauthenticated") {
    return ["Enter a key", () => {
      byId("keys").open = true;
      field.key.focus();
    }];
  }
  return WAITING.has(problem.code) ? ["Try again", again] : undefined;
}

/** Shows progress; says a quarter at a time, since every step would drown a screen reader. */
function follower(what) {
  let said = "";
  return (view) => {
    const { state: now, position, step, steps } = view;
    const share = now === "done" ? 1 : steps ? (step ?? 0) / steps : null;
    const bar = byId("progress");
    if (share === null) bar.removeAttribute("value");
    else bar.value = share;
    byId("step").textContent = now === "running" && steps ? `${step ?? 0} of ${steps}` : now === "queued" ? "waiting" : "";
    const quarter = share === null ? 0 : Math.floor(share * 4) * 25;
    const text = now === "queued" ? `Waiting, place ${position ?? 1}` : now === "running" ? `${what}: ${quarter} percent` : said;
    if (text !== said) say((said = text));
  };
}

function setBusy(frame) {
  state.busy = frame !== null;
  byId("bar").hidden = !state.busy;
  byId("progress").removeAttribute("value");
  byId("step").textContent = "";
  for (const other of document.querySelectorAll(".frame")) other.classList.toggle("drawing", other === frame);
  byId("hide-button").disabled = state.busy;
  byId("file").disabled = byId("stego-file").disabled = state.busy;
  byId("right-button").disabled = byId("wrong-button").disabled = state.busy || !state.stego;
}

function show(id, blob, alt) {
  const image = byId(id);
  if (image.src) URL.revokeObjectURL(image.src);
  image.hidden = !blob;
  image.alt = blob ? alt : "";
  if (blob) image.src = URL.createObjectURL(blob);
  else image.removeAttribute("src");
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

// ---- what is done

async function chooseFace(file) {
  if (!file || state.busy) return;
  clearProblem();
  say("");
  const most = state.settings?.max_bytes;
  if (most && file.size > most) {
    showProblem(new Problem({ code: "", title: "The picture is too large", detail: `It may have ${(most / 2 ** 20).toFixed(0)} MiB.` }));
    return;
  }
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
  state.face = { file, bitmap };
  setStego(null);
  byId("face").hidden = true;
  byId("frame-face").classList.remove("filled");
  byId("file-note").textContent = file.name;
  if (bitmap) drawFace(null);
  byId("invite").firstElementChild.textContent = bitmap ? "Choose a face" : "No preview"; // the service judges it
}

function setStego(stego, alt = "The stego") {
  state.stego = stego;
  show("stego", stego?.blob, alt);
  show("right", null);
  show("wrong", null);
  const link = byId("download");
  link.hidden = !stego;
  if (stego) link.href = byId("stego").src;
  else link.removeAttribute("href");
  byId("right-button").disabled = byId("wrong-button").disabled = !stego;
}

function demand(id, why) {
  const input = field[id];
  if (input.value.trim()) return true;
  input.setAttribute("aria-invalid", "true");
  input.focus();
  say(why);
  return false;
}

/** One piece of work: its frame breathes, progress is shown, a problem offers a way out. */
async function work(frame, again, job) {
  clearProblem();
  setBusy(byId(frame));
  say("Sending");
  try {
    say(await job());
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.code === "job-cancelled") say("Cancelled");
    else showProblem(error, wayOut(error, again));
  } finally {
    state.job = null;
    setBusy(null);
  }
}

async function hide() {
  if (state.busy) return;
  clearProblem();
  if (!state.face) {
    say("Choose a face first");
    byId("file").focus();
    return;
  }
  if (!demand("identity", "The identity prompt is missing") || !demand("disguise", "The disguise prompt is missing")) return;
  const body = new FormData();
  body.set("image", state.face.file, "face");
  body.set("identity_prompt", field.identity.value);
  body.set("disguise_prompt", field.disguise.value);
  body.set("crop", document.querySelector("input[name=crop]:checked").value);
  body.set("format", "png");
  setStego(null);
  await work("frame-stego", hide, async () => {
    const disguise = field.disguise.value;
    const onSubmitted = (view) => drawFace(view.crop);
    const stego = await run(SENDER, "/hide", body, { onSubmitted, onView: follower("Drawing the stego") });
    setStego(stego, `The stego, drawn as: ${disguise}`);
    return "The face is hidden. Save the stego, or recover it here.";
  });
}

async function recover(which) {
  if (state.busy || !state.stego) return;
  clearProblem();
  if (!demand(`${which}-prompt`, "The prompt is missing")) return;
  const body = new FormData();
  body.set("stego", state.stego.blob, "stego");
  body.set("identity_prompt", field[`${which}-prompt`].value);
  if (state.stego.recipe) body.set("recipe", state.stego.recipe);
  show(which, null);
  await work(`frame-${which}`, () => recover(which), async () => {
    const { blob } = await run(RECEIVER, "/recover", body, { onView: follower("Recovering") });
    show(which, blob, which === "right" ? "The recovered face" : "The face that a wrong prompt gives: a stranger");
    return which === "right" ? "The face is recovered. Compare it with the first picture." : "A wrong prompt gives a stranger.";
  });
}

async function cancel() {
  if (!state.job) return;
  const { service, address } = state.job;
  await ask(service, address, { method: "DELETE" }).catch(() => {});
}

// ---- wiring

byId("hide").addEventListener("submit", (event) => {
  event.preventDefault();
  hide();
});
byId("recover").addEventListener("submit", (event) => {
  event.preventDefault();
  recover("right");
});
byId("key-form").addEventListener("submit", (event) => event.preventDefault());
byId("wrong-button").addEventListener("click", () => recover("wrong"));
field["wrong-prompt"].addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  recover("wrong");
});
byId("cancel").addEventListener("click", cancel);
byId("file").addEventListener("change", (event) => chooseFace(event.target.files[0]));
byId("stego-file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (!file || state.busy) return;
  clearProblem();
  setStego({ blob: file, recipe: null }, "The stego of your file");
  say("Type the prompt under which it was hidden.");
});

const drop = byId("frame-face");
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault()); // a miss must not open the file
drop.addEventListener("drop", (event) => chooseFace(event.dataTransfer.files[0]));

for (const button of document.querySelectorAll("[data-reveal]")) {
  button.addEventListener("click", () => {
    const input = byId(button.dataset.reveal);
    const shown = input.type === "password";
    input.type = shown ? "text" : "password";
    button.setAttribute("aria-pressed", String(shown));
  });
}
for (const chip of document.querySelectorAll(".chip")) {
  chip.addEventListener("click", () => {
    field.disguise.value = chip.textContent;
  });
}

async function start() {
  try {
    state.settings = await (await ask(SENDER, "/page.json")).json();
  } catch (error) {
    showProblem(error, ["Try again", () => { clearProblem(); start(); }]);
    return;
  }
  const { receiver, keys } = state.settings;
  byId("no-receiver").hidden = Boolean(receiver);
  byId("recovery").hidden = !receiver;
  byId("keys").open = keys;
  document.documentElement.dataset.ready = "1";
}

setBusy(null);
start();
