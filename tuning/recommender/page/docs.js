"use strict";

function make(tag, text = "", name = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = name;
  return element;
}

/* Follows a reference within the document. */
function resolved(schema, api) {
  const steps = schema && schema.$ref ? schema.$ref.split("/").slice(1) : null;
  return steps ? steps.reduce((node, step) => node[step], api) : schema || {};
}

function typeOf(schema, api) {
  if (!schema) return "anything";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map((each) => typeOf(each, api)).join(" or ");
  if (schema.type === "array") return `list of ${typeOf(schema.items, api)}`;
  return schema.type || "anything";
}

function table(head, rows) {
  const found = make("table");
  const first = make("tr");
  first.append(...head.map((text) => make("th", text)));
  found.append(first);
  for (const [name, ...others] of rows) {
    const row = make("tr");
    const cell = make("td");
    cell.append(make("code", name));
    row.append(cell, ...others.map((text) => make("td", text)));
    found.append(row);
  }
  return found;
}

function fields(schema, api) {
  const properties = Object.entries(resolved(schema, api).properties || {});
  return table(["Field", "Type", "Meaning"], properties.map(([name, field]) => [name, typeOf(field, api), field.description || ""]));
}

function operation(path, method, described, api) {
  const card = make("section", "", "card");
  const title = make("h2");
  title.append(make("span", method.toUpperCase(), "method"), make("code", path));
  card.append(title, make("p", described.description || ""));
  if (described.parameters) {
    const rows = described.parameters.map((each) => [each.name, typeOf(each.schema, api), `in the ${each.in}`]);
    card.append(make("h3", "Parameters"), table(["Name", "Type", "Place"], rows));
  }
  const body = described.requestBody && described.requestBody.content["application/json"].schema;
  if (body) card.append(make("h3", `Takes ${typeOf(body, api)}`), fields(body, api));
  for (const [status, answer] of Object.entries(described.responses)) {
    const schema = answer.content && answer.content["application/json"].schema;
    card.append(make("h3", `${status} ${answer.description}: ${typeOf(schema, api)}`));
    if (status === "200" && schema && schema.$ref) card.append(fields(schema, api));
  }
  return card;
}

function shape(name, schema, api) {
  const card = make("section", "", "card");
  const title = make("h2");
  title.append(make("code", name));
  card.append(title, make("p", schema.description || ""), fields(schema, api));
  return card;
}

async function main() {
  const api = await (await fetch("openapi.json")).json();
  const found = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, described]) => operation(path, method, described, api))
  );
  const shapes = Object.entries(api.components.schemas).filter(([name]) => !name.includes("Validation"));
  document.getElementById("operations").append(...found, ...shapes.map(([name, schema]) => shape(name, schema, api)));
}

main();
