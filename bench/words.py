"""Words for people: names of architectures and tasks, and their settings.

Reports, verdicts and figures use these words. Suites, filters and claims files have the keys.
"""

from __future__ import annotations

_NAMES = {
    "transformer": "Transformer",
    "mamba": "Mamba",
    "s4": "S4",
    "s4_mamba": "S4-Mamba",
    "standard_hybrid": "Standard Hybrid",
    "mambaformer": "MambaFormer",
    "lstm": "LSTM",
    "transformer_no_positions": "Transformer without PE",
    "transformer_first_mamba": "Transformer, first block Mamba",
    "mamba_one_hybrid": "6 Mamba blocks + 1 Standard Hybrid",
    "transformer_plus_plus": "Transformer++",
    "gated_deltanet": "Gated DeltaNet",
    "deltanet": "DeltaNet",
    "gdn_hybrid_3_1": "Gated DeltaNet and attention, 3:1",
    "gdn_hybrid_1_1": "Gated DeltaNet and attention, 1:1",
    "mamba2": "Mamba-2",
    "mamba3": "Mamba-3",
    "gla": "GLA",
    "mlstm": "mLSTM",
    "kda": "KDA",
    "rwkv7": "RWKV-7",
    "kda_hybrid_3_1": "KDA and attention, 3:1",
    "two_layer_network": "2NN regression",
    "orthogonal_outlier_regression": "Orthogonal-outlier regression",
    "many_outlier_regression": "Many-outlier regression",
    "chain_of_thought": "Chain-of-Thought-I/O",
    "vector_mqar": "Vector-valued MQAR",
    "ginc": "GINC",
    "regbench": "RegBench",
    "token_mqar": "MQAR of tokens",
    "finite_regression": "Regression on a finite pool",
}


_PROPER = {
    "regbench": "RegBench",
    "ginc": "GINC",
    "lstm": "LSTM",
    "mamba": "Mamba",
    "mqar": "MQAR",
    "s4": "S4",
}
"""Words of experiments' names that are names themselves."""


def architecture_name(name: str) -> str:
    """An architecture's name for people; an unknown one keeps its name."""
    return _NAMES.get(name, name)


def title_of(name: str) -> str:
    """The name of an experiment or of a figure as a title: group_reflections → Group reflections."""
    return _capitalised(" ".join(_PROPER.get(word, word) for word in name.split("_")))


def _capitalised(words: str) -> str:
    return words[:1].upper() + words[1:]


def options_in_words(name: str, dropout: bool = True) -> list[str]:
    """The options of an architecture's full name: `deltanet+householders=2` → ["2 Householder products"].

    Args:
        name: of the architecture, with options that are not the defaults.
        dropout: with the rates of dropout, which most readers need not tell apart.
    """
    options = (option.partition("=") for option in name.split("+")[1:])
    return [
        setting_in_words(field, value) for field, _, value in options if dropout or "dropout" not in field
    ]


def task_name(name: str) -> str:
    """A task's name for people: linear_regression → Linear regression."""
    return _NAMES.get(name) or _capitalised(name.replace("_", " "))


_COUNTED = {
    "functions": ("function", "functions"),
    "heads": ("head", "heads"),
    "householders": ("Householder product", "Householder products"),
    "languages": ("language", "languages"),
    "n_dims": ("dimension", "dimensions"),
    "n_points": ("point", "points"),
    "pairs": ("pair", "pairs"),
    "queries": ("query", "queries"),
    "steps": ("step", "steps"),
    "updates": ("update", "updates"),
}
"""Fields that count: the noun for one and for several."""
_FIELDS = {
    "convolution": "convolution of width {}",
    "expand_keys": "key expansion {}",
    "hidden": "hidden width {}",
    "key_dim": "key dimension {}",
    "state": "state dimension {}",
    **{
        f"curriculum {part} {field}": f"{noun} grow {words}"
        for part, noun in (("points", "prompts"), ("dims", "dimensions"))
        for field, words in (
            ("start", "from {}"), ("end", "to {}"), ("increment", "by {}"), ("every", "every {} steps"),
        )
    },
}  # fmt: skip
"""Words of the field around a value. Other fields have their names in suites."""
_VALUES = {
    ("alphabet", "elements"): "all elements",
    ("alphabet", "generators"): "generators only",
    ("causal", "False"): "without causal mask",
    ("convolution", "1"): "without convolution",
    ("negative_eigenvalues", "False"): "β < 1",
    ("negative_eigenvalues", "True"): "β < 2",
    ("rotation", "data"): "rotation by the input",
    ("rotation", "fixed"): "fixed rotation",
    ("rotation", "none"): "without rotation",
}
"""Values that have words of their own. Each field has different words for different values."""


def setting_in_words(field: str, value: str) -> str:
    """A setting or an option in words: `householders=2` is "2 Householder products"."""
    if (field, value) in _VALUES:
        return _VALUES[field, value]
    if field in _COUNTED:
        return f"{value} {_COUNTED[field][value != '1']}"
    if field in _FIELDS:
        return _FIELDS[field].format(value)
    words = field.replace("_", " ")
    return {"True": f"with {words}", "False": f"without {words}"}.get(value, f"{words} {value}")
