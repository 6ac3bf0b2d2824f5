"""How a DCGAN is trained: a recipe is one row of `RECIPES`, a literal set of choices, and its name fixes them all.

A row never changes once a model has been trained with it; a new choice gets a new name. What the choices mean, and
where they come from, is said where each is computed: `losses`, `views`, `auxiliary_tasks`, `game`.
"""

from dataclasses import dataclass, replace

from repr_eval.gan.augmentation import Augmentation

LOSSES = ("logistic", "hinge", "relativistic")  # the rows of losses.ADVERSARIAL_LOSSES; a recipe does without torch


@dataclass(frozen=True)
class Recipe:
    """Everything about the game but the networks, the data and its length. Defaults are the paper's (section 4)."""

    name: str
    loss: str = "logistic"  # a row of losses.ADVERSARIAL_LOSSES
    batch_size: int = 128
    lr: float = 2e-4  # Adam's step size, G's; D's is `d_lr_factor` times that [two time scales: Heusel et al. 2017]
    d_lr_factor: float = 1.0
    beta1: float = 0.5
    beta2: float = 0.999
    generator_width: float = 1.0  # G's width as a share of D's
    fakes: float = 1.0  # fake images for each real one, in both updates
    r1: float = 0.0  # weight gamma of the R1 penalty, computed every `r1_every` steps
    r1_every: int = 16
    augmentation: Augmentation | None = None  # of everything that D sees, real or fake
    rotation: float = 0.0  # weight of telling by how many quarter turns a real image was turned
    contrast: float = 0.0  # weight of telling which two views are of the same real image
    temperature: float = 0.2  # of `contrast`
    consistency: float = 0.0  # weight of giving two views of a real image the same logit
    tasks_read: str = "last"  # what `rotation` and `contrast` read: the last layer, all, or the last one's mean
    rotation_from: str = "own"  # images that are turned: views of their own, or the second view of `contrast`
    projection: tuple[int, int] = (256, 128)  # hidden units and length of `contrast`'s projections
    projection_norm: bool = False  # batch norm on the hidden units
    views: Augmentation | None = None  # of what the tasks see, where that is not what the game sees
    small_views: Augmentation | None = None  # of more views for `contrast`, [Caron et al. 2020, section 3.2]
    n_small_views: int = 0
    game_every: int = 1  # steps; in the others D learns its other tasks alone
    game_shapes_features: bool = True  # whether the gradient of D's logit goes beyond its last layer
    weight_decay: float = 0.0  # of D, decoupled [Loshchilov & Hutter 2019]
    warmup: int = 0  # steps over which both rates rise to their values
    decay: float = 0.0  # share of the run's steps, the last, over which both rates fall to 0
    d_average: float = 0.0  # decay of the exponential average of D's weights that is published; 0 publishes D itself
    g_average: float = 0.0  # of G's

    def check(self) -> None:
        """Raise a ValueError that names the first impossible choice."""
        if self.loss not in LOSSES:
            raise ValueError(f"unknown loss {self.loss!r}; choose from {', '.join(LOSSES)}")
        if self.batch_size < 2:
            raise ValueError(f"batch_size {self.batch_size}: batch norm needs at least 2")
        if self.tasks_read not in ("last", "all", "mean"):
            raise ValueError(f"tasks_read {self.tasks_read!r}; choose last, all or mean")
        if self.rotation_from not in ("own", "second"):
            raise ValueError(f"rotation_from {self.rotation_from!r}; choose own or second")
        self._check_views()
        for name in ("lr", "d_lr_factor", "generator_width", "fakes", "temperature", "r1_every", "game_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} {getattr(self, name)} is not above 0")
        for name in ("r1", "rotation", "contrast", "consistency", "weight_decay", "warmup", "n_small_views"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} {getattr(self, name)} is negative")
        for name in ("beta1", "beta2", "d_average", "g_average", "decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is not in [0, 1)")

    def _check_views(self) -> None:
        """Raise a ValueError where the choices about views do not go together."""
        if self.rotation_from == "second" and self.rotation and not self.contrast:
            raise ValueError("rotation_from second: only contrast has a second view")
        if self.n_small_views and not self.small_views:
            raise ValueError(f"n_small_views {self.n_small_views}: small_views must say how they are made")
        if self.views and (self.consistency or self.r1):
            raise ValueError("views: consistency and r1 are of the views that the game sees")
        resized = any(views and views.size for views in (self.views, self.small_views))
        if resized and self.tasks_read != "mean":
            raise ValueError(f"views of another size: tasks_read must be mean, not {self.tasks_read}")
        if self.augmentation and self.augmentation.size:
            raise ValueError("augmentation: the game sees images of their own size; size is for views")

    @property
    def n_fakes(self) -> int:
        """Fake images in a step; at least 2, for batch norm."""
        return max(2, round(self.batch_size * self.fakes))


PAPER = Recipe("paper")

VIEWS = Augmentation(crop=0.3, flip=True, brightness=0.4, saturation=0.8, grey=0.2, contrast=0.4)

# Chosen by the study in benchmarks/results/recipes.md. D learns mostly from the real images: which two views are of the
# same one, and which way is up; half as many fakes, from a G of half D's width, leave it the time. (There it is
# "lean-slower": the average of G's weights changes nothing for D.)
CONTRASTIVE = Recipe(
    name="contrastive",
    d_lr_factor=2.5,
    generator_width=0.5,
    fakes=0.5,
    augmentation=VIEWS,
    rotation=1.0,
    contrast=1.0,
    d_average=0.999,
    g_average=0.999,
)

# For images whose mirror image means something else, or nothing: digits, text.
CONTRASTIVE_UNMIRRORED = replace(CONTRASTIVE, name="contrastive-unmirrored", augmentation=replace(VIEWS, flip=False))

# The same tasks at a third of the cost of an image, and more accurate after as many: smaller views, whose crops are
# then as large as the images that features are made of; the second view is the one that is turned; D and G play in
# every eighth step. Chosen by the ladder of short runs in benchmarks/results/recipes.md.
CONTRASTIVE_FAST = replace(
    CONTRASTIVE,
    name="contrastive-fast",
    tasks_read="mean",
    projection=(2048, 256),
    projection_norm=True,
    rotation_from="second",
    temperature=0.1,
    game_every=8,
    views=replace(VIEWS, size=20),
)

CONTRASTIVE_FAST_UNMIRRORED = replace(
    CONTRASTIVE_FAST,
    name="contrastive-fast-unmirrored",
    augmentation=CONTRASTIVE_UNMIRRORED.augmentation,
    views=replace(VIEWS, size=20, flip=False),
)

RECIPES = {
    recipe.name: recipe
    for recipe in (PAPER, CONTRASTIVE, CONTRASTIVE_UNMIRRORED, CONTRASTIVE_FAST, CONTRASTIVE_FAST_UNMIRRORED)
}


def recipe_named(name: str) -> Recipe:
    """The row of `RECIPES` called `name`, or a ValueError that lists the names."""
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; choose from {', '.join(RECIPES)}")
    return RECIPES[name]
