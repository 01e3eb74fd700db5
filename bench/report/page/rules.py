"""The rules by which a report chooses, measures and judges, in words for its readers."""

from __future__ import annotations

from bench.check.claim import CONFIDENCE, LEAST_PROMPTS
from bench.paper.symbols import RULE as SYMBOL_RULE
from bench.report.data import budgets, choices, estimates
from bench.results.flops_axis import AXIS
from bench.uncertainty import DRAWS

MEANINGS = {
    "reproduced": f"the claim holds in at least {100 * CONFIDENCE:.0f} % of the draws",
    "contradicted": f"one of its comparisons fails in at least {100 * CONFIDENCE:.0f} % of the draws (if it "
    "counts pairs, too many pairs fail), or all runs of one of its numbers diverged",
    "undecided": "the draws leave both answers open; or fewer seeds finished than the claim takes; or a "
    f"number rests on fewer than {LEAST_PROMPTS} independent prompts; or a seed diverged, and the claim is "
    "about training; or the answer depends on which of several equally good learning rates or sizes is read, "
    "on a choice that one seed decides, or on when runs that never learned would have learned in a longer "
    "training",
    "not comparable": "the models that are compared have learned too little, or none of them can be better, "
    "or none finished, or two numbers have no ratio, or the runs are not those that the claim is about",
    "missing": "runs are missing",
    "unreachable": "no model can have the claimed number",
}
"""What each verdict means. `DRAWS_RULES` say what a draw is."""
DRAWS_RULES = (
    "A draw is what the numbers of a claim might have been on other test prompts and, with several seeds, "
    f"after other trainings ({DRAWS:,} draws).",
    "The column “over” says which of the two. A claim about the very models that were trained has other "
    "prompts alone. “Not prompts”: results keep no answers at the checks of convergence, and a claim that "
    "training gives two equal mean errors resamples seeds alone.",
    "The interval in brackets leaves 5 % of the draws on either side. So the claim that a number is at most "
    "b (≤ b) is reproduced if the upper end is at most b, contradicted if the lower end is above b, and "
    "undecided otherwise. For ≥ b the ends are exchanged. The ratio of two models is decided in the same "
    "way. A value with a tolerance has two bounds.",
    "A claim about several models is reproduced if all of it holds in enough draws, and contradicted if one "
    "pair of models is the other way round in enough of them.",
    "No draw of an accuracy is below 0 or above 1.",
    "Prompts that share a hidden function count as one. Draws of few independent prompts are wider, as their "
    "number requires (Student's t; Hesterberg 2015): by 10 % with 20, 0.15 % with 1,280.",
    "Each claim is decided on its own: of 20 claims at the edge of being true, about one is reproduced by "
    "chance.",
)
LENGTH = {
    "training_flops_full_length": "Every step counts at the full prompt length.",
    "training_flops": "Every step counts at the prompt length its curriculum gives it.",
}[AXIS]
RULES = (
    ("Choice of learning rate", choices.LEARNING_RATE_RULE),
    ("Choice of size", choices.SIZE_RULE),
    ("Several seeds", estimates.SEEDS_RULE),
    ("Intervals", estimates.INTERVAL_RULE),
    ("Equal FLOPs", budgets.RULE),
    ("Symbols of Table 1", SYMBOL_RULE),
    (
        "Normalisation",
        "Squared errors are divided by what the trivial predictor scores, so that it scores 1; accuracies "
        "are shown as they are. The floor (ceiling) is the Bayes optimum or the best bound known.",
    ),
    (
        "Training FLOPs",
        f"6 × multiplications of the forward pass × batch × steps, as in Appendix B of the paper. {LENGTH} "
        "Appendix B leaves out the projections to Mamba's Δ, B and C, which would add 5 % (width 768) to "
        "17 % (width 32) to Mamba's count; here they are left out too. It ignores the linear terms of the "
        "hybrids' Mamba blocks, 3 % to 48 % of a Standard Hybrid's other terms with 41 points; here they are "
        "counted.",
    ),
    (
        "First figure",
        "The figure of the paper with the most decided claims (reproduced or contradicted) comes first; of "
        "equals, the first in the paper.",
    ),
    ("Verdicts", " ".join(f"{word.capitalize()}: {meaning}." for word, meaning in MEANINGS.items())),
    ("Draws", " ".join(DRAWS_RULES)),
    (
        "Words",
        "finished: trained to its last step. diverged: stopped being a number, and is never chosen. failed: "
        "stopped by an error. missing: no result yet. None of them is ever drawn as zero. 2×128: a model of "
        "2 layers of width 128. K, M: thousands, millions of parameters. State: how many numbers a model "
        "keeps of a prompt to read the next token. Mean over positions: over all scored places of a "
        "prompt. Candidates: the learning rates, or learning rates and clips, that were tried. "
        "Edge of a grid: the lowest or highest learning rate that was tried; a better one may be outside.",
    ),
)
