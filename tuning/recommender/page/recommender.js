"use strict";

const $ = (id) => document.getElementById(id);
const PARTS = ["weights", "gradients", "optimizer", "activations", "logits"];
const WAIT_MS = 250;
const chosen = { model: "", data: "" };
let latest = null;
let timer = 0;
let asked = 0;

function make(tag, text = "", name = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = name;
  return element;
}

function bytes(count) {
  const gib = count / 2 ** 30;
  return gib >= 1 ? `${gib.toPrecision(3)} GiB` : `${Math.max(1, Math.round(count / 2 ** 20))} MiB`;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/* What the form says, as one flat document. */
function documentOfForm() {
  const config = { model_name_or_path: chosen.model, output_dir: $("output-dir").value.trim() || "runs/first" };
  if (chosen.data) config.training_data_path = chosen.data;
  const method = $("method").value;
  if (method === "scratch") config.train_from_scratch = true;
  else if (method) config.peft_method = method;
  if ($("gpus").value) config.num_gpus_per_node = Number($("gpus").value);
  if ($("gpu-memory").value) config.gpu_memory_gib = Number($("gpu-memory").value);
  for (const line of $("more").value.split("\n")) {
    const [, key, value] = line.match(/^\s*([^=]+?)\s*=\s*(.*?)\s*$/) || [];
    if (key) config[key] = parsed(value);
    else if (line.trim()) config[line.trim()] = null;
  }
  return config;
}

async function ask(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch {
    throw [{ loc: ["server"], msg: "The server does not answer." }];
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw Array.isArray(answer.detail) ? answer.detail : [{ loc: ["server"], msg: `The server answered ${response.status}.` }];
}

function soon() {
  clearTimeout(timer);
  if (chosen.model) timer = setTimeout(recommend, WAIT_MS);
}

async function recommend() {
  const turn = ++asked;
  const request = { config: documentOfForm(), config_file: $("config-file").value.trim() || "config.json" };
  $("results").setAttribute("aria-busy", "true");
  $("hint").hidden = true;
  try {
    const answer = await ask("recommend", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(request),
    });
    if (turn === asked) show(answer);
  } catch (problems) {
    if (!Array.isArray(problems)) throw problems;
    if (turn === asked) showProblems(problems);
  } finally {
    if (turn === asked) $("results").setAttribute("aria-busy", "false");
  }
}

function showProblems(problems) {
  $("answer").hidden = true;
  $("problems").hidden = false;
  $("problems").replaceChildren(
    ...problems.map((problem) => {
      const line = make("p");
      const place = problem.loc.slice(problem.loc[0] === "body" ? 2 : 0).join(".");
      if (place && !problem.msg.startsWith(place)) line.append(make("code", place), " ");
      line.append(problem.msg);
      return line;
    })
  );
}

function show(answer) {
  latest = answer;
  $("problems").hidden = true;
  $("answer").hidden = false;
  showMemory(answer.memory);
  showWarnings(answer);
  const filled = answer.recommendations.filter((made) => leaves(made.patch).length);
  $("reasons").replaceChildren(...filled.map(reason));
  const count = filled.flatMap((made) => leaves(made.patch)).length;
  $("count").textContent = count === 1 ? "1 value filled in" : `${count} values filled in`;
  if (!filled.length) $("reasons").append(make("p", "Nothing: every value is yours.", "quiet"));
  const declined = answer.recommendations.flatMap((made) => made.declined);
  $("kept").hidden = !declined.length;
  $("kept-list").replaceChildren(...declined.map(kept));
  showConfig(answer.config, new Set(filled.flatMap((made) => leaves(made.patch).map(([path]) => path))));
  $("command").textContent = answer.launch_command;
}

function leaves(node, prefix = "") {
  return Object.entries(node).flatMap(([key, value]) =>
    value !== null && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length
      ? leaves(value, `${prefix}${key}.`)
      : [[`${prefix}${key}`, value]]
  );
}

function setting(path, value) {
  const line = make("span", "", "value");
  const dot = path.lastIndexOf(".") + 1;
  const written = value === null ? "taken out" : JSON.stringify(value);
  line.append(make("small", path.slice(0, dot)), path.slice(dot), " = ", make("b", written));
  return line;
}

function reason(made) {
  const item = make("li");
  const values = make("div");
  values.append(...leaves(made.patch).map(([path, value]) => setting(path, value)));
  const why = make("div", made.comment);
  why.append(make("small", `${made.action} · ${made.source}`, "source"));
  item.append(values, why);
  return item;
}

function kept(declined) {
  const item = make("li");
  const why = make("div", `Suggested instead: ${JSON.stringify(declined.suggested)}. ${declined.because}`);
  item.append(setting(declined.path, declined.user), why);
  return item;
}

function showWarnings(answer) {
  const made = answer.recommendations;
  const replaced = made.flatMap((each) => each.overridden.map((one) => ["Replaced", one.warning]));
  const warned = made.filter((each) => each.level === "user_intervention");
  const lines = [
    ...replaced,
    ...warned.map((each) => ["For you to decide", each.comment]),
    ...answer.notices.map((notice) => ["Note", notice]),
    ...answer.unmapped.map((key) => ["Not used", key]),
  ];
  $("warnings").replaceChildren(
    ...lines.map(([title, text]) => {
      const line = make("p", "", "warning");
      line.append(make("b", `${title}: `), text);
      return line;
    })
  );
}

function showMemory({ parts, total, budget, fits }) {
  const verdict = $("memory-verdict");
  verdict.className = fits === false ? "verdict bad" : "verdict";
  verdict.textContent = memoryText(total, budget, fits);
  $("memory-bar").hidden = parts === null;
  $("memory-legend").hidden = parts === null;
  if (parts === null) return;
  const scale = Math.max(total, budget || 0) || 1;
  const bars = PARTS.filter((name) => parts[name]).map((name) => {
    const part = make("span", "", `part ${name}`);
    part.style.width = `${(100 * parts[name]) / scale}%`;
    part.title = `${name}: ${bytes(parts[name])}`;
    return part;
  });
  if (budget !== null && budget < scale) {
    const limit = make("span", "", "limit");
    limit.style.left = `${(100 * budget) / scale}%`;
    bars.push(limit);
  }
  $("memory-bar").replaceChildren(...bars);
  $("memory-bar").setAttribute("aria-label", PARTS.map((name) => `${name} ${bytes(parts[name])}`).join(", "));
  $("memory-legend").replaceChildren(...PARTS.filter((name) => parts[name]).map((name) => legend(name, parts[name])));
}

function memoryText(total, budget, fits) {
  if (total === null) return "Not known: the model's shape is not.";
  if (budget === null) return `${bytes(total)} at the peak; the memory of the device is not known.`;
  const share = total / budget;
  const percent = share < 0.01 ? "less than 1" : Math.round(100 * share).toLocaleString("en");
  return fits
    ? `Fits: ${bytes(total)} at the peak, ${percent} % of the ${bytes(budget)} to plan with.`
    : `Does not fit: ${bytes(total)} at the peak, and ${bytes(budget)} to plan with.`;
}

function legend(name, count) {
  const item = make("li");
  item.append(make("i", "", name), name, make("b", bytes(count)));
  return item;
}

/* Writes JSON line by line, as JSON.stringify(value, null, 2) would, and marks the lines of some paths. */
function showConfig(config, marked) {
  const lines = [];
  const walk = (value, path, indent, start, end) => {
    const isObject = value !== null && typeof value === "object" && !Array.isArray(value);
    if (!isObject || !Object.keys(value).length) {
      lines.push([`${indent}${start}${JSON.stringify(value)}${end}`, marked.has(path)]);
      return;
    }
    lines.push([`${indent}${start}{`, false]);
    const entries = Object.entries(value);
    entries.forEach(([key, inner], index) => {
      const comma = index < entries.length - 1 ? "," : "";
      walk(inner, path ? `${path}.${key}` : key, `${indent}  `, `${JSON.stringify(key)}: `, comma);
    });
    lines.push([`${indent}}${end}`, false]);
  };
  walk(config, "", "", "", "");
  $("config").replaceChildren(...lines.map(([text, filled]) => make("span", `${text}\n`, filled ? "line filled" : "line")));
}

async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyBySelection(text); // without https, a browser gives the clipboard to selections only
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

function copyBySelection(text) {
  const area = make("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

const KINDS = {
  model: { title: "Choose a model", label: "model-path", note: "◆ is a folder with a model." },
  data: { title: "Choose training data", label: "data-path", note: "A folder stands for all data files in it." },
};

async function openBrowser(kind) {
  $("browser").dataset.kind = kind;
  $("browser-title").textContent = KINDS[kind].title;
  $("browser").showModal();
  await list($("browser").dataset.path || "");
}

async function list(path) {
  const kind = $("browser").dataset.kind;
  let found;
  try {
    found = await ask(`files?path=${encodeURIComponent(path)}`);
  } catch (problems) {
    if (!Array.isArray(problems)) throw problems;
    $("browser-note").textContent = problems.map((problem) => problem.msg).join(" ");
    return;
  }
  $("browser").dataset.path = found.path;
  $("browser-path").textContent = found.path;
  $("browser-up").disabled = found.parent === null;
  $("browser-up").onclick = () => list(found.parent);
  $("browser-this").hidden = kind !== "data" || !found.path || !found.entries.some((entry) => entry.kind === "data");
  $("browser-this").onclick = () => choose(kind, found.path);
  const shown = found.entries.filter((entry) => kind === "data" || entry.kind !== "data");
  $("browser-entries").replaceChildren(...shown.map((entry) => row(kind, entry)));
  const none = shown.length ? KINDS[kind].note : "There is nothing to choose here.";
  $("browser-note").textContent = found.truncated ? `Only the first ${found.entries.length} names are shown.` : none;
}

function row(kind, entry) {
  const item = make("li", "", entry.kind);
  const isChoice = entry.kind === kind;
  const open = make("button", "", "open");
  const mark = make("i");
  mark.setAttribute("aria-hidden", "true");
  open.type = "button";
  open.append(mark, entry.name);
  open.onclick = () => (isChoice ? choose(kind, entry.path) : list(entry.path));
  item.append(open);
  if (isChoice && entry.kind === "model") {
    const inside = make("button", "Open", "inside");
    inside.type = "button";
    inside.onclick = () => list(entry.path);
    item.append(inside);
  }
  return item;
}

function choose(kind, path) {
  chosen[kind] = path;
  $(KINDS[kind].label).textContent = path;
  $(KINDS[kind].label).className = "";
  $("browser").close();
  soon();
}

$("choices").addEventListener("input", soon);
$("choices").addEventListener("submit", (event) => event.preventDefault());
$("pick-model").onclick = () => openBrowser("model");
$("pick-data").onclick = () => openBrowser("data");
$("browser-close").onclick = () => $("browser").close();
$("copy-config").onclick = () => copy($("copy-config"), `${JSON.stringify(latest.config, null, 2)}\n`);
$("copy-command").onclick = () => copy($("copy-command"), latest.launch_command);
