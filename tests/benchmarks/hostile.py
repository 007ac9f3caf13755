"""Rule files that are broken, hostile or enormous, with what is said of each."""

from __future__ import annotations


def _rule(number: int) -> str:
    return (
        f"  - {{id: r{number}, owner: o, reason: r, when: {{task: coding}}, then: {{tier: fast, set: none, budget: default}}}}\n"
    )


TOO_LARGE = "a file of rules has at most"
TOO_MUCH = "hold too much"

FILES: dict[str, tuple[str, str, str]] = {
    "a megabyte": ("routes.yaml", "routes:\n" + "# x\n" * 260_000, TOO_LARGE),
    "ten thousand rules": ("routes.yaml", "routes:\n" + "".join(map(_rule, range(10_000))), TOO_LARGE),
    "two thousand rules": ("routes.yaml", "routes:\n" + "".join(map(_rule, range(2_000))), TOO_MUCH),
    "as many rules as are read, all wrong": (
        "routes.yaml",
        "routes:\n"
        + "".join(f"  - {{id: r{i}, ownr: o, reason: r, whn: {{tsk: x}}, then: {{tier: fst}}}}\n" for i in range(1_100)),
        "and more",
    ),
    "brackets in brackets": ("routes.yaml", "a: " + "[" * 120_000, TOO_MUCH),
    "brackets as deep as are read": ("routes.yaml", "a: " + "[" * 4_000, "nested too deeply"),
    "lists in lists": ("routes.yaml", "- " * 100_000, "nested too deeply"),
    "keys of keys": ("routes.yaml", "? " * 60_000, "nested too deeply"),
    "aliases that stand for millions": (
        "routes.yaml",
        "a: &a [x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)),
        "an alias `*a` is not read here",
    ),
    "an alias of itself": ("routes.yaml", "routes: &a [*a]", "an alias"),
    "one key ten thousand times": ("routes.yaml", "routes: []\n" * 10_000, "given twice"),
    "a list of many words": ("routes.yaml", "routes: [" + "a," * 22_000 + "]", "expected a mapping"),
    "a list of too many words": ("routes.yaml", "routes: [" + "a, " * 80_000 + "]", TOO_MUCH),
    "many keys": ("routes.yaml", "routes: []\n" + "\n".join(f"k{i}: 1" for i in range(10_500)), "unknown key"),
    "a zero byte": ("routes.yaml", "routes: []\n\0", "routes.yaml:2:1: error: not valid YAML: the character #x0000"),
    "half a surrogate": ("routes.yaml", "routes: []\n# \ud800", "is not allowed"),
    "a long number": ("budgets.yaml", "new_sessions_per_hour: " + "9" * 200_000, "expected a whole number"),
    "a long word": ("apps.yaml", "apps: [{id: " + "x" * 200_000 + "}]", "is no identifier"),
    "a pattern that would be tried for ever": (
        "sensitivity.yaml",
        "patterns: [{id: p, category: pii, level: internal, pattern: '((((a{1000}){1000}){1000}){1000})'}]",
        "does not take the pattern",
    ),
    "a pattern that looks back": (
        "sensitivity.yaml",
        "patterns: [{id: p, category: pii, level: internal, pattern: '(a+)+\\1$'}]",
        "does not take the pattern",
    ),
    "an object of a language": ("routes.yaml", "!!python/object/apply:os.system ['true']", "expected a mapping"),
}
"""Name → file, text, and a piece of the reason."""
