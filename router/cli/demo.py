"""`router demo`: a dozen telling tasks through the official client, and a table of what became of each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from router.exchange import JsonObject

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALENDAR = {
    "type": "function",
    "function": {
        "name": "get_calendar",
        "description": "Find events in the user's own calendar.",
        "parameters": {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
    },
}
DELETE = {
    "type": "function",
    "function": {
        "name": "drop_database",
        "description": "Delete a whole database.",
        "parameters": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    },
}
# Put together here so that no scanner of this repository takes the examples for live secrets.
PASTED_KEY = "ghp_" + "x7Kq2mVb9TzR4wLc8NdF3hJs6YpA1gE5uQoZ"
CARD = " ".join(["5105", "1051", "0510", "5100"])

TASKS: list[tuple[str, JsonObject]] = [
    (
        "summarise",
        {
            "messages": [
                (
                    "user",
                    "Summarise in two sentences: the meeting moved to Tuesday because the room was taken, and lunch is at noon.",
                )
            ]
        },
    ),
    ("translate", {"messages": [("user", "Translate into French: the train leaves at nine.")]}),
    ("look up", {"messages": [("user", "What is the weather in Lisbon right now?")], "tools": [WEATHER]}),
    (
        "proof",
        {
            "messages": [
                ("user", "Prove step by step that the square root of two is irrational, and check every step of the argument.")
            ]
        },
    ),
    (
        "code review",
        {
            "messages": [
                (
                    "user",
                    "Review this function for bugs and race conditions and propose a corrected version:\n```python\ndef add(item, items=[]):\n    items.append(item)\n    return items\n```",
                )
            ]
        },
    ),
    (
        "plan with tools",
        {
            "messages": [
                (
                    "user",
                    "Plan a three-day offsite in Porto: check my calendar for free days, compare the weather, weigh the options and propose an agenda.",
                )
            ],
            "tools": [CALENDAR, WEATHER],
        },
    ),
    (
        "customer record",
        {
            "messages": [
                (
                    "user",
                    "Draft a reply to Maria Keller, born 12 March 1984, maria.keller@keller-holding.de, IBAN DE75 5121 0800 1245 1261 99, about her claim.",
                )
            ]
        },
    ),
    (
        "pasted API key",
        {"messages": [("user", f"Why does this fail? curl -H 'Authorization: token {PASTED_KEY}' https://api.github.com/user")]},
    ),
    ("payment card", {"messages": [("user", f"Is the card {CARD} a Visa or a Mastercard?")]}),
    ("tool not entitled", {"messages": [("user", "Drop the staging database.")], "tools": [DELETE, WEATHER]}),
    ("hard-coded model", {"model": "gpt-4o", "messages": [("user", "Suggest a name for a cat.")]}),
    ("embedding", {"embed": "quarterly planning notes"}),
]


@click.command()
@click.option("--url", envvar="ROUTER_URL", help="Base URL of the service; default: this machine at --port.")
@click.option("--port", default=8080, show_default=True)
@click.option("--key", envvar="ROUTER_KEY", help="An app key; default: a new one for the app `demo`.")
@click.option("--data-dir", default="data", show_default=True, type=click.Path(path_type=Path, file_okay=False))
def demo(url: str | None, port: int, key: str | None, data_dir: Path) -> None:
    """Send a dozen tasks to the running service and show what happened to each; then the spend report."""
    import openai

    base = (url or f"http://127.0.0.1:{port}").rstrip("/")
    client = openai.OpenAI(base_url=f"{base}/v1", api_key=key or _demo_key(data_dir), max_retries=0)
    try:
        simulated = [model.id for model in client.models.list() if getattr(model, "simulated", False)]
    except openai.APIConnectionError:
        raise click.ClickException(f"nothing answers at {base}: start the service first (`make run`)") from None
    if simulated:
        click.echo("The answers come from the simulated provider: no credential was found, and nothing leaves this machine.\n")
    categories = _categories()
    rows = [[name, *_outcome(client, body)] for name, body in TASKS]
    rows += _until_spent(client)
    rows = [[*row[:3], categories.get(row[0], ""), *row[3:]] for row in rows]
    _table(
        [
            "task",
            "result",
            "sensitivity",
            "categories",
            "complexity",
            "kind",
            "rule",
            "tier",
            "deployment",
            "tools granted",
            "withheld",
            "left $",
            "cost $",
        ],
        rows,
    )
    click.echo("\nSpend so far (`router report spend --by owner,model,task,sensitivity`):\n")
    sys.stdout.flush()
    # The records are on their way from the outbox to SQL: `--wait` lets the report begin when they have arrived.
    command = [sys.executable, "-m", "router", "report", "spend", "--by", "owner,model,task,sensitivity", "--wait"]
    subprocess.run(command, env={**os.environ, "ROUTER_DATA_DIR": str(data_dir)}, check=False)  # noqa: S603 - our own command


def _categories() -> dict[str, str]:
    """What the classifiers find in each task, by its name: evidence keeps that, the answer's headers do not tell it."""
    from classifiers.assess import Assessor
    from router.cli.classify import assessed
    from router.cli.data import classifying_key, rules_for
    from router.settings import load_settings

    settings = load_settings()
    rules = rules_for(settings)
    assessor = Assessor(rules.sensitivity, classifying_key(settings, rules))
    told = {}
    for name, body in TASKS:
        text = str(body["embed"]) if "embed" in body else "\n".join(content for _, content in body["messages"])
        told[name] = ", ".join(assessed(assessor, rules, {"text": text})["categories"])
    return told


def _demo_key(data_dir: Path) -> str:
    command = [sys.executable, "-m", "router", "keys", "create", "--app", "demo", "--owner", "demo@example.org", "--json"]
    made = subprocess.run(command, env={**os.environ, "ROUTER_DATA_DIR": str(data_dir)}, capture_output=True, check=False)  # noqa: S603 - our own command
    if made.returncode:
        raise click.ClickException(made.stderr.decode().strip() or "no demo key could be made")
    return str(msgspec.json.decode(made.stdout)["key"])


def _outcome(client: Any, body: JsonObject, session: str | None = None) -> list[str]:
    import openai

    headers = {"x-session-id": session, "x-router-purpose": "trial"} if session else {}
    tools = [tool["function"]["name"] for tool in body.get("tools", ())]
    try:
        if "embed" in body:
            model = next((m.id for m in client.models.list() if "embed" in m.id), "text-embedding-3-small")
            raw = client.embeddings.with_raw_response.create(model=model, input=body["embed"], extra_headers=headers)
        else:
            raw = client.chat.completions.with_raw_response.create(
                model=body.get("model", "auto"),
                messages=[{"role": role, "content": content} for role, content in body["messages"]],
                max_tokens=body.get("max_tokens", 300),
                extra_headers=headers,
                **({"tools": body["tools"]} if tools else {}),
            )
        told, result = raw.headers, "answered"
        if "embed" not in body and (calls := raw.parse().choices[0].message.tool_calls):
            result = "calls " + ", ".join(call.function.name for call in calls)
    except openai.APIStatusError as error:
        told, result = error.response.headers, f"{error.status_code} {error.code}"
    withheld = [part.split(";")[0] for part in told.get("x-router-tools-withheld", "").split(", ") if part]
    granted = [name for name in tools if name not in withheld] if told.get("x-router-model") else []
    named = ("sensitivity", "complexity", "task", "rule", "tier", "model")
    return [
        result,
        *(told.get(f"x-router-{name}", "") for name in named),
        ", ".join(granted),
        ", ".join(withheld),
        told.get("x-router-budget-remaining-usd", ""),
        told.get("x-router-cost-usd", ""),
    ]


def _until_spent(client: Any) -> list[list[str]]:
    """One session with the small budget of the purpose `trial`, until that refuses."""
    session = "demo-" + os.urandom(4).hex()
    body = {"messages": [("user", "Write a limerick about a budget.")], "max_tokens": 500}
    rows: list[list[str]] = []
    for number in range(1, 100):
        rows.append([f"one session, task {number}", *_outcome(client, body, session)])
        if not rows[-1][1].startswith("answered"):
            break
    return rows


def _table(titles: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(title), *(len(row[column]) for row in rows)) for column, title in enumerate(titles)]
    for row in [titles, ["-" * width for width in widths], *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
