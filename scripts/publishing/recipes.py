"""The rows of docs/published-results.md: recipes of conf/experiment/published/, their files and published figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field

GORISHNIY_2021 = "Gorishniy et al. 2021, RTDL, MLP"
GORISHNIY_2024 = "Gorishniy et al. 2024, TabM, MLP"
TABM = "Gorishniy et al. 2024, TabM-mini"
BEST_2024 = "Gorishniy et al. 2024, best network of the MLP family"
# RMSE of the mean of many passes with dropout, by the readme of yaringal/DropoutUncertaintyExps, which rounds that
# of kin8nm to 0.08; 0.0789 is of no known source.
GRID_SEARCH = "Gal and Ghahramani 2016, their repository's grid search of 2018"
ON_UCI = "MLP on the same splits, of which no source was found"
SRIVASTAVA = "Srivastava et al. 2014, table 2"


@dataclass(frozen=True)
class Recipe:
    """Describes a recipe, and the figures that were published for its data.

    Attributes:
        title: of the data and the network, for the table.
        measure: of the test part, as `test/rmse`.
        published: source → figure, in the unit of the table.
        files: option of train.py → its file or folder below that of the data.
        checksums: SHA-256 of files below that of the data; where a file has another one, it is told. Without one, the
            first run records it beside its row of the page.
        form: of the file of `data.path`, a key of `FORMS`, where it is no table, or has a split of its own.
        seeds: how many the page wants.
        percent_wrong: whether the table shows 100 · (1 − measure), as the sources do.
        digits: behind the point.
    """

    title: str
    measure: str
    published: Mapping[str, float]
    files: Mapping[str, str]
    checksums: Mapping[str, str] = field(default_factory=dict)
    form: str | None = None
    seeds: int = 5
    percent_wrong: bool = False
    digits: int = 4

    def shown(self, value: float) -> float:
        """Converts a value of the measure to the unit of the table."""
        return 100 * (1 - value) if self.percent_wrong else value

    @property
    def is_smaller_better(self) -> bool:
        """Returns whether a small figure of the table is a good one."""
        return self.percent_wrong or self.measure.endswith(("rmse", "mae", "mse", "loss"))


CALIFORNIA = {
    "form": "one_split",
    "files": {"data.path": "california_housing/california_sklearn_form.csv"},
    "checksums": {
        "california_housing/california_sklearn_form.csv": (
            "7192af0bf33e94141194cfd91958c62d66262dc40c07cc2e6fbe0b2d02b0e1b3"
        )
    },
}
ADULT = {
    "files": {"data.path": "adult/adult-train.csv", "data.test_path": "adult/adult-test.csv"},
    "checksums": {
        "adult/adult-train.csv": "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
        "adult/adult-test.csv": "72567b94f5c1a6f8501377dd80f93892c3848ff071cf91ba47e00b0785a28074",
    },
}
MNIST = {
    "files": {"data.directory": "mnist"},
    "checksums": {
        "mnist/train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "mnist/train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "mnist/t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "mnist/t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
}

RECIPES: dict[str, Recipe] = {
    "california_mlp": Recipe(
        "California housing, MLP, RMSE",
        "test/rmse",
        {GORISHNIY_2021: 0.499, GORISHNIY_2024: 0.4948},
        **CALIFORNIA,
    ),
    "california_tabm": Recipe(
        "California housing, TabM-mini with embeddings, RMSE", "test/rmse", {TABM: 0.4275}, **CALIFORNIA
    ),
    "adult_mlp": Recipe("Adult, MLP, accuracy", "test/accuracy", {GORISHNIY_2024: 0.8541}, **ADULT),
    "adult_tabm": Recipe("Adult, TabM-mini with embeddings, accuracy", "test/accuracy", {TABM: 0.8701}, **ADULT),
    "mnist_plain": Recipe(
        "MNIST, two layers of 800 units, error in %",
        "test/accuracy",
        {f"Simard et al. 2003, after {SRIVASTAVA}": 1.60},
        **MNIST,
        percent_wrong=True,
        digits=2,
    ),
    "mnist_dropout": Recipe(
        "MNIST, three layers of 1024 units, dropout, error in %",
        "test/accuracy",
        {SRIVASTAVA: 1.25},
        **MNIST,
        percent_wrong=True,
        digits=2,
    ),
    "mnist_max_norm": Recipe(
        "MNIST, three layers of 1024 units, dropout and max-norm, error in %",
        "test/accuracy",
        {SRIVASTAVA: 1.06},
        **MNIST,
        percent_wrong=True,
        digits=2,
    ),
}

# Name → title, folder, measure, published figures of the MLP and of the best network, digits.
ARRAYS: dict[str, tuple[str, str, str, float, float, int]] = {
    "churn": ("Churn", "churn", "accuracy", 0.8553, 0.8624, 4),
    "diamond": ("Diamond", "diamond", "rmse", 0.1404, 0.1315, 4),
    "house": ("House", "house", "rmse", 31_117, 29_976, 0),
    "otto": ("Otto", "otto", "accuracy", 0.8175, 0.8342, 4),
    "higgs_small": ("Higgs-small", "higgs-small", "accuracy", 0.7180, 0.7383, 4),
    "covertype": ("Covertype", "covtype2", "accuracy", 0.9630, 0.9755, 4),
}
for name, (title, folder, measure, mlp, best, digits) in ARRAYS.items():
    for network, about, published in (
        ("mlp", "MLP", {GORISHNIY_2024: mlp}),
        ("tabm", "TabM-mini with embeddings", {BEST_2024: best}),
    ):
        RECIPES[f"{name}_{network}"] = Recipe(
            f"{title}, {about}, {'RMSE' if measure == 'rmse' else measure}", f"test/{measure}", published,
            {"data.path": folder}, form="arrays", digits=digits,
        )  # fmt: skip

# Name → title, folder, RMSE of an MLP, and of Gal and Ghahramani's grid search, splits, digits.
INDEXED: dict[str, tuple[str, str, float, float, int, int]] = {
    "concrete": ("Concrete", "concrete", 5.45, 4.82, 20, 2),
    "energy": ("Energy", "energy", 0.97, 0.54, 20, 2),
    "kin8nm": ("Kin8nm", "kin8nm", 0.0916, 0.0789, 20, 4),
    "power": ("Power", "power-plant", 4.18, 4.01, 20, 2),
    "protein": ("Protein", "protein-tertiary-structure", 4.39, 4.27, 5, 2),
    "yacht": ("Yacht", "yacht", 1.23, 0.67, 20, 2),
}
for name, (title, folder, mlp, best, splits, digits) in INDEXED.items():
    RECIPES[name] = Recipe(
        f"{title}, MLP, RMSE", "test/rmse", {ON_UCI: mlp, GRID_SEARCH: best}, {"data.path": f"{folder}/data"},
        form="indexed", seeds=splits, digits=digits,
    )  # fmt: skip
