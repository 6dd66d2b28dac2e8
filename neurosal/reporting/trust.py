"""The trust card: what the checks of the maps say, in words and marks that need no colour."""

from neurosal.reporting.results import Results

#: Verdict to a mark whose shape tells it, and to words.
MARKS = {
    "passed": ("✓", "passed"),
    "flagged": ("▲", "flagged: a reason not to trust the maps"),
    "reported": ("i", "reported: informs, cannot decide"),
    "not run": ("–", "not run"),
}


def trust_rows(results: Results) -> list[dict]:
    """Lay the checks out for the card, flagged ones first.

    Parameters
    ----------
    results : Results
        With ``trust``.

    Returns
    -------
    list of dict
        ``name``, ``question``, ``verdict``, ``mark``, ``words``, ``finding``, ``cannot_show``.

    Examples
    --------
    >>> from neurosal.validation.check import Check
    >>> checks = [Check("a", "?", "passed", "Yes.", "All."), Check("b", "?", "flagged", "No.", "-")]
    >>> [(row["name"], row["mark"]) for row in trust_rows(Results("", trust=checks))]
    [('b', '▲'), ('a', '✓')]
    """
    order = ("flagged", "passed", "reported", "not run")
    checks = sorted(results.trust, key=lambda check: order.index(check.verdict))
    return [
        {
            "name": check.name,
            "question": check.question,
            "verdict": check.verdict,
            "mark": MARKS[check.verdict][0],
            "words": MARKS[check.verdict][1],
            "finding": check.finding,
            "cannot_show": check.cannot_show,
        }
        for check in checks
    ]


def trust_words(results: Results) -> str:
    """Sum the card up in one sentence.

    Parameters
    ----------
    results : Results
        With ``trust``.

    Returns
    -------
    str
        Empty where no check was given.

    Examples
    --------
    >>> from neurosal.validation.check import Check
    >>> trust_words(Results("", trust=[Check("recovery", "?", "flagged", "No.", "-")]))
    'Of 1 check that can decide, none passed; flagged: recovery.'
    """
    if not results.trust:
        return ""
    named = {v: [c.name for c in results.trust if c.verdict == v] for v in MARKS}
    decided = len(named["passed"]) + len(named["flagged"])
    if not decided:
        return "No check that can decide was run."
    passed = len(named["passed"]) or "none"
    words = f"Of {decided} check{'s' if decided > 1 else ''} that can decide, {passed} passed"
    words += f"; flagged: {', '.join(named['flagged'])}" if named["flagged"] else ""
    words += f"; not run: {', '.join(named['not run'])}" if named["not run"] else ""
    return words + "."
