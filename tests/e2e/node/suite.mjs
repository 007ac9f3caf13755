// The official client, unmodified, against the router at OPENAI_BASE_URL with the key in OPENAI_API_KEY.
// Each test is one promise to an app; test_node_client.py reads their names from here.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import test from "node:test";
import OpenAI from "openai";
import { makeParseableResponseFormat, makeParseableTextFormat } from "openai/lib/parser";

const RETRIES = 2;
const SUMMARY = "Summarise in two sentences: the library opens at nine and the garden closes at dusk.";
const ASK = [{ role: "user", content: SUMMARY }];
const CITY_ASK = "What is the weather in Paris?";
const PLACE = {
  type: "object",
  properties: { city: { type: "string" }, visits: { type: "integer", minimum: 3 } },
  required: ["city", "visits"],
  additionalProperties: false,
};

let sent = [];
const client = app();

/** A client that notes in `sent` what leaves it, retries included. */
function app(options = {}) {
  const noting = (...request) => {
    sent.push(request);
    return fetch(...request);
  };
  return new OpenAI({ maxRetries: RETRIES, fetch: noting, ...options });
}

async function collected(iterable) {
  const items = [];
  for await (const item of iterable) items.push(item);
  return items;
}

/** The error of a request that must be refused, and must be sent once. */
async function refused(request, kind, status, code) {
  sent = [];
  const error = await request().then(
    () => assert.fail("the request was not refused"),
    (raised) => raised,
  );
  assert.ok(error instanceof kind, `${error?.constructor?.name}: ${error?.message}`);
  assert.equal(error.status, status);
  assert.equal(error.code, code);
  assert.equal(sent.length, 1, "a refusal is not retried");
  return error;
}

/** A tool that runs here, and what it was called with. */
function weatherTool() {
  const calls = [];
  const run = async ({ city }) => {
    calls.push(city);
    return { city, degrees: 21 };
  };
  const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
  const definition = { name: "get_weather", description: "The weather in a city", parameters, parse: JSON.parse, function: run };
  return { calls, tool: { type: "function", function: definition } };
}

test("a chat completion is answered, with usage", async () => {
  const { data, response } = await client.chat.completions.create({ model: "auto", messages: ASK }).withResponse();
  assert.equal(data.object, "chat.completion");
  assert.equal(data.choices[0].finish_reason, "stop");
  assert.match(data.choices[0].message.content, /\[simulated\] In short/);
  assert.equal(data.usage.total_tokens, data.usage.prompt_tokens + data.usage.completion_tokens);
  assert.ok(response.headers.get("x-router-rule"), "the deciding rule is named");
  assert.ok(response.headers.get("x-router-session"), "the session is named");
});

test("a chat stream yields chunks up to the usage", async () => {
  const stream = await client.chat.completions.create({
    model: "auto",
    messages: ASK,
    stream: true,
    stream_options: { include_usage: true },
  });
  const chunks = await collected(stream);
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  assert.match(text, /\[simulated\] In short/);
  assert.ok(chunks.length > 3, "in parts");
  assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
  assert.equal(chunks.filter((chunk) => chunk.choices[0]?.finish_reason === "stop").length, 1);
  assert.ok(chunks.at(-1).usage.total_tokens > 0);
});

test("a chat stream can be left early", async () => {
  const stream = await client.chat.completions.create({ model: "auto", messages: ASK, stream: true });
  for await (const chunk of stream) {
    assert.equal(chunk.object, "chat.completion.chunk");
    break;
  }
  assert.ok(stream.controller.signal.aborted);
  assert.ok((await client.chat.completions.create({ model: "auto", messages: ASK })).choices.length);
});

test("the chat stream helper raises its events and gathers the completion", async () => {
  const seen = { chunk: 0, content: "", message: 0, end: 0 };
  const stream = client.chat.completions.stream({ model: "auto", messages: ASK, stream_options: { include_usage: true } });
  stream.on("chunk", () => (seen.chunk += 1));
  stream.on("content", (delta) => (seen.content += delta));
  stream.on("message", () => (seen.message += 1));
  stream.on("end", () => (seen.end += 1));
  const whole = await stream.finalChatCompletion();
  await stream.done();
  assert.match(seen.content, /\[simulated\] In short/);
  assert.equal(whole.choices[0].message.content, seen.content);
  assert.equal(await stream.finalContent(), seen.content);
  assert.ok(seen.chunk > 3);
  assert.deepEqual([seen.message, seen.end], [1, 1]);
  assert.ok((await stream.totalUsage()).total_tokens > 0);
});

test("runTools calls the tool and takes its result back", async () => {
  const { calls, tool } = weatherTool();
  const runner = client.chat.completions.runTools({ model: "auto", messages: [{ role: "user", content: CITY_ASK }], tools: [tool] });
  const answer = await runner.finalContent();
  assert.deepEqual(calls, ["Paris"]);
  assert.match(answer, /The tools have answered \(get_weather\)/);
  assert.deepEqual(runner.messages.map((message) => message.role), ["user", "assistant", "tool", "assistant"]);
});

test("runTools works on streams", async () => {
  const { calls, tool } = weatherTool();
  const runner = client.chat.completions.runTools({
    model: "auto",
    messages: [{ role: "user", content: CITY_ASK }],
    tools: [tool],
    stream: true,
  });
  assert.match(await runner.finalContent(), /The tools have answered \(get_weather\)/);
  assert.deepEqual(calls, ["Paris"]);
});

test("a tool above the ceiling is withheld and named", async () => {
  const parameters = { type: "object", properties: { city: { type: "string" } } };
  const tools = ["get_weather", "drop_database"].map((name) => ({ type: "function", function: { name, parameters } }));
  const request = client.chat.completions.create({ model: "auto", messages: [{ role: "user", content: CITY_ASK }], tools });
  const { data, response } = await request.withResponse();
  assert.match(response.headers.get("x-router-tools-withheld"), /^drop_database;/);
  assert.deepEqual(data.choices[0].message.tool_calls.map((call) => call.function.name), ["get_weather"]);
});

test("a JSON schema binds the chat answer", async () => {
  const format = { type: "json_schema", json_schema: { name: "place", strict: true, schema: PLACE } };
  const messages = [{ role: "user", content: "Name a city worth a visit." }];
  const plain = await client.chat.completions.create({ model: "auto", messages, response_format: format });
  assert.deepEqual(Object.keys(JSON.parse(plain.choices[0].message.content)), PLACE.required);
  const parsing = makeParseableResponseFormat(format, JSON.parse);
  const { parsed } = (await client.chat.completions.parse({ model: "auto", messages, response_format: parsing })).choices[0].message;
  assert.equal(typeof parsed.city, "string");
  assert.equal(parsed.visits, 3);
  const streamed = await client.chat.completions.stream({ model: "auto", messages, response_format: parsing }).finalChatCompletion();
  assert.deepEqual(streamed.choices[0].message.parsed, parsed);
});

test("a response is answered, with its text gathered", async () => {
  const response = await client.responses.create({ model: "auto", input: SUMMARY });
  assert.equal(response.object, "response");
  assert.equal(response.status, "completed");
  assert.match(response.output_text, /\[simulated\] In short/);
  assert.ok(response.usage.total_tokens > 0);
});

test("a response streams its events up to response.completed", async () => {
  const events = await collected(await client.responses.create({ model: "auto", input: SUMMARY, stream: true }));
  const kinds = events.map((event) => event.type);
  assert.equal(kinds[0], "response.created");
  assert.equal(kinds.at(-1), "response.completed");
  assert.deepEqual(events.map((event) => event.sequence_number), events.map((_, number) => number));
  const deltas = events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta);
  assert.ok(deltas.length > 1, "in parts");
  const text = events.at(-1).response.output.flatMap((item) => item.content ?? []).map((part) => part.text).join("");
  assert.equal(deltas.join(""), text);
});

test("the response stream helper gathers the response", async () => {
  const stream = client.responses.stream({ model: "auto", input: SUMMARY });
  let text = "";
  stream.on("response.output_text.delta", (event) => (text += event.delta));
  const response = await stream.finalResponse();
  assert.equal(response.status, "completed");
  assert.equal(response.output_text, text);
});

test("a JSON schema binds the response", async () => {
  const format = makeParseableTextFormat({ type: "json_schema", name: "place", strict: true, schema: PLACE }, JSON.parse);
  const response = await client.responses.parse({ model: "auto", input: "Name a city worth a visit.", text: { format } });
  assert.equal(response.output_parsed.visits, 3);
});

test("a response's tool call takes its result back", async () => {
  const { parameters, description } = weatherTool().tool.function;
  const tools = [{ type: "function", name: "get_weather", description, parameters, strict: true }];
  const input = [{ role: "user", content: CITY_ASK }];
  const first = await client.responses.create({ model: "auto", input, tools });
  const call = first.output.find((item) => item.type === "function_call");
  assert.equal(JSON.parse(call.arguments).city, "Paris");
  const result = { type: "function_call_output", call_id: call.call_id, output: '{"degrees":21}' };
  const last = await client.responses.create({ model: "auto", input: [...input, ...first.output, result], tools });
  assert.match(last.output_text, /The tools have answered \(get_weather\)/);
});

test("embeddings come as base64 unasked and are decoded to numbers", async () => {
  sent = [];
  const input = ["the cat sat", "the cat sat", "bonds fell"];
  const { data, usage } = await client.embeddings.create({ model: "text-embedding-3-small", input });
  assert.equal(JSON.parse(sent[0][1].body).encoding_format, "base64");
  const [first, same, other] = data.map((row) => Array.from(row.embedding));
  assert.equal(first.length, 256);
  assert.ok(Math.abs(Math.hypot(...first) - 1) < 1e-5, "a unit vector");
  assert.deepEqual(first, same);
  assert.notDeepEqual(first, other);
  assert.ok(usage.prompt_tokens > 0);
  const asked = await client.embeddings.create({ model: "text-embedding-3-small", input: input[0], encoding_format: "float" });
  assert.ok(asked.data[0].embedding.every((value, place) => Math.abs(value - first[place]) < 1e-6));
});

test("models are listed and looked up", async () => {
  const models = await collected(client.models.list());
  const names = models.map((model) => model.id);
  assert.ok(names.includes("auto") && names.includes("gpt-4o-mini"), names.join());
  const one = await client.models.retrieve("gpt-4o-mini");
  assert.deepEqual([one.id, one.object], ["gpt-4o-mini", "model"]);
  await refused(() => client.models.retrieve("no-such-model"), OpenAI.NotFoundError, 404, "model_not_found");
});

test("a wrong key is an AuthenticationError", async () => {
  const stranger = app({ apiKey: "wrong" });
  const request = () => stranger.chat.completions.create({ model: "auto", messages: ASK });
  await refused(request, OpenAI.AuthenticationError, 401, "invalid_api_key");
});

test("an unknown parameter is a BadRequestError that names it", async () => {
  const request = () => client.chat.completions.create({ model: "auto", messages: ASK, temprature: 1 });
  const error = await refused(request, OpenAI.BadRequestError, 400, "unknown_parameter");
  assert.equal(error.param, "temprature");
  assert.equal(error.type, "invalid_request_error");
});

test("an unknown model is a NotFoundError", async () => {
  const request = () => client.chat.completions.create({ model: "no-such-model", messages: ASK });
  await refused(request, OpenAI.NotFoundError, 404, "model_not_found");
});

test("a pasted credential is a PermissionDeniedError that does not repeat it", async () => {
  const credential = ["AKIA", "Q3EGT5PLXW7ZB2NK"].join("");
  const messages = [{ role: "user", content: `Why does this fail? aws_access_key_id = ${credential}` }];
  for (const stream of [false, true]) {
    const request = () => client.chat.completions.create({ model: "auto", messages, stream });
    const error = await refused(request, OpenAI.PermissionDeniedError, 403, "no_cleared_deployment");
    assert.ok(error.headers.get("x-router-rule"));
    assert.ok(!JSON.stringify([error.message, error.error, ...error.headers]).includes(credential));
  }
  const request = () => client.responses.create({ model: "auto", input: messages });
  await refused(request, OpenAI.PermissionDeniedError, 403, "no_cleared_deployment");
});

test("a spent session budget is an APIError with status 402", async () => {
  const headers = { "x-router-purpose": "trial", "x-session-id": randomUUID() };
  const request = () => client.chat.completions.create({ model: "auto", messages: ASK }, { headers });
  for (let turn = 0; turn < 3; turn += 1) assert.ok((await request()).choices.length);
  await refused(request, OpenAI.APIError, 402, "session_budget_exceeded");
});
