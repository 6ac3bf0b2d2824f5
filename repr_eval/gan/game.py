"""The two networks, their optimisers, and one step of the game between them."""

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from repr_eval.gan.architectures import architecture_named
from repr_eval.gan.augmentation import Augmentation
from repr_eval.gan.auxiliary_tasks import Heads, contrast_loss, rotation_loss, turned
from repr_eval.gan.losses import ADVERSARIAL_LOSSES, inconsistency, r1_penalty
from repr_eval.gan.networks import Discriminator, Generator, initialise
from repr_eval.gan.settings import TrainingSettings
from repr_eval.gan.start import Start
from repr_eval.gan.views import augmented
from repr_eval.system.random_streams import generator_for
from repr_eval.system.ranks import ALONE, Ranks

Network = TypeVar("Network", Discriminator, Generator)


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Within it, batch norm uses each batch's own statistics and leaves the running ones as they are."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    before = [(norm.training, norm.track_running_stats) for norm in norms]
    for norm in norms:
        norm.train()
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, (training, tracking) in zip(norms, before, strict=True):
            norm.train(training)
            norm.track_running_stats = tracking


def _copied(network: Network) -> Network:
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def _move(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * network; batch-norm statistics are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    for mine, its in zip(average.buffers(), network.buffers(), strict=True):
        mine.copy_(its)


class _Turn(nn.Module):
    """`work`, as the forward pass of a module that holds the networks whose gradients it makes."""

    def __init__(self, work: Callable[..., Any], networks: list[nn.Module]):
        super().__init__()
        self.networks, self.work = nn.ModuleList(networks), work

    def forward(self, *arguments: Any) -> Any:
        return self.work(*arguments)


def _averaging(work: Callable[..., Any], networks: list[nn.Module], ranks: Ranks) -> Callable[..., Any]:
    """`work` itself; with several ranks, such that the gradients it leads to are averaged over them.

    The sums of gradients are taken in the same order in every step. (Without `find_unused_parameters` it is another one
    from the second step on, and a run that was resumed would differ in the last bits.)
    """
    if ranks.count == 1:
        return work
    with warnings.catch_warnings():
        # The argument has a new name in some versions of torch, in which the old one does what it always did.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(_Turn(work, networks), broadcast_buffers=False, find_unused_parameters=True)


class DCGAN:
    """Discriminator and generator with an Adam each, on one device, in channels-last layout.

    D's running batch-norm statistics follow the *real* batches only, as D sees them beside fakes; G's follow its own.

    With several ranks each plays on its share of a batch, with that share's batch statistics and its views compared
    among themselves; gradients are averaged (DistributedDataParallel). The running statistics are the first rank's.
    """

    def __init__(
        self, settings: TrainingSettings, device: torch.device, ranks: Ranks = ALONE, start: Start | None = None
    ):
        arch, recipe = architecture_named(settings.arch), settings.recipe
        self.settings, self.recipe, self.device, self.ranks = settings, recipe, device, ranks
        self.loss = ADVERSARIAL_LOSSES[recipe.loss]
        self.discriminator = Discriminator(arch, settings.width)
        self.generator = Generator(arch, settings.width * recipe.generator_width, settings.z_dim)
        self.heads = Heads(arch.maps(settings.width), recipe)
        for stream, network in (("d", self.discriminator), ("g", self.generator), ("heads", self.heads)):
            initialise(network, generator_for(settings.seed, f"init-{stream}"))
            begun = {"d": start.discriminator, "g": start.generator}.get(stream) if start else None
            if begun is not None:
                network.load_state_dict(begun.state_dict())
            network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.discriminator_average = _copied(self.discriminator) if recipe.d_average else None
        self.generator_average = _copied(self.generator) if recipe.g_average else None
        self.rates = {"discriminator": recipe.lr * recipe.d_lr_factor, "generator": recipe.lr}
        self.optimisers = {
            name: torch.optim.AdamW(
                self._parameters(name), rate, (recipe.beta1, recipe.beta2), fused=True,
                weight_decay=recipe.weight_decay if name == "discriminator" else 0.0,
            )
            for name, rate in self.rates.items()
        }  # fmt: skip

        self._generate = _averaging(self.generator.forward, [self.generator], ranks)
        self._judge = _averaging(self._discriminator_losses, [self.discriminator, self.heads], ranks)

    def _parameters(self, name: str) -> list[nn.Parameter]:
        """What the optimiser of that name moves."""
        if name == "generator":
            return list(self.generator.parameters())
        return list(chain(self.discriminator.parameters(), self.heads.parameters()))

    @property
    def published_discriminator(self) -> Discriminator:
        """D as others get it: its average where the recipe keeps one."""
        return self.discriminator_average or self.discriminator

    @property
    def published_generator(self) -> Generator:
        """G as others get it: its average where the recipe keeps one."""
        return self.generator_average or self.generator

    @property
    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16")

    def step(self, real: Tensor, z: Tensor, number: int) -> Tensor:
        """Update D once, then G once, on one fake batch; float [2], their adversarial losses before their updates.

        `real` float [B, 3, S, S] in [-1, 1], noise `z` float [M, z_dim]; `number` is the step's, from 0: it decides
        the views, the rates and the steps with a penalty. Every batch that D sees is normalised by its own statistics;
        G plays against the D just updated. Differs from the paper's code, which draws a new batch for each of the two
        updates. In a step without the game (`Recipe.game_every`) D learns its other tasks, and the result is float [0].
        """
        turn = number * self.ranks.count + self.ranks.number
        views = generator_for(self.settings.seed, "views", turn, self.device)
        self._set_rates(number)
        if number % self.recipe.game_every:
            with self._autocast:
                _, other_tasks = self._judge(real, None, number, views)
            self._update("discriminator", other_tasks)
            self._follow(number)
            return torch.empty(0)
        with self._autocast:
            fake = self._generate(z)
            d_loss, other_tasks = self._judge(real, fake.detach(), number, views)
        self._update("discriminator", d_loss + other_tasks)

        self.discriminator.requires_grad_(False)
        with self._autocast, batch_statistics(self.discriminator):
            on_real = (
                self.discriminator(self._view(real, views)) if self.loss.generator_needs_real else fake.new_empty(0)
            )
            on_fake = self.discriminator(self._view(fake, views))
        g_loss = self.loss.of_generator(on_real.float(), on_fake.float())
        self._update("generator", g_loss)
        self.discriminator.requires_grad_(True)
        self._follow(number)
        return torch.stack([d_loss.detach(), g_loss.detach()])

    def _set_rates(self, number: int) -> None:
        """Give both optimisers their rates of step `number`."""
        factor = self.settings.rate_factor(number)
        for name, optimiser in self.optimisers.items():
            optimiser.param_groups[0]["lr"] = self.rates[name] * factor

    def _view(self, images: Tensor, views: torch.Generator, augmentation: Augmentation | None = None) -> Tensor:
        """A new view of every image, as `augmentation` makes them; by default as the game sees them."""
        augmentation = augmentation or self.recipe.augmentation
        if augmentation is None:
            return images
        with torch.autocast(self.device.type, enabled=False):
            return augmented(images.float(), augmentation, views)

    def _discriminator_losses(
        self, real: Tensor, fake: Tensor | None, number: int, views: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """D's adversarial loss, and the weighted sum of its other tasks and penalties.

        The first view of the real images serves the game and the tasks; where tasks have views of their own, the game
        sees as many real images as fake ones besides. Without `fake` there is no game, and its loss is 0.
        """
        recipe, D = self.recipe, self.discriminator
        penalised = fake is not None and recipe.r1 > 0 and number % recipe.r1_every == 0
        first = self._view(real, views, recipe.views)
        if penalised:
            first = first.detach().requires_grad_()
        maps = list(D.activations(first))
        adversarial, on_real = torch.zeros((), device=self.device), None
        with batch_statistics(D):
            if fake is not None:
                on_real = self._logits(self._view(real[: len(fake)], views)) if recipe.views else self._judged(maps[-1])
                adversarial = self.loss.of_discriminator(on_real, self._logits(self._view(fake, views)))
            others = self._task_losses(real, maps, views)
            if penalised and on_real is not None:
                others = others + recipe.r1 * recipe.r1_every * r1_penalty(on_real, first)
        return adversarial, others

    def _judged(self, last: Tensor) -> Tensor:
        """D's logits float32 [N] from its last layer's activations."""
        return self.discriminator.logits(last if self.recipe.game_shapes_features else last.detach()).float()

    def _logits(self, images: Tensor) -> Tensor:
        """D's logits float32 [N] on images, for its own update."""
        with torch.set_grad_enabled(self.recipe.game_shapes_features):
            return self._judged(list(self.discriminator.activations(images))[-1])

    def _task_losses(self, real: Tensor, maps: list[Tensor], views: torch.Generator) -> Tensor:
        """The weighted sum of D's tasks on real images, of which `maps` are the activations on the first view."""
        recipe, D, heads = self.recipe, self.discriminator, self.heads
        total = torch.zeros((), device=self.device)
        if recipe.rotation and recipe.rotation_from == "own":
            images, turns = turned(self._view(real, views, recipe.views))
            total = total + recipe.rotation * rotation_loss(heads, list(D.activations(images)), turns)
        if not recipe.contrast and not recipe.consistency:
            return total
        images = self._view(real, views, recipe.views)
        if recipe.rotation and recipe.rotation_from == "second":
            images, turns = turned(images)
        second = list(D.activations(images))
        if recipe.rotation and recipe.rotation_from == "second":
            total = total + recipe.rotation * rotation_loss(heads, second, turns)
        if recipe.contrast:
            compared = [maps, second]
            if recipe.n_small_views:
                many = real.repeat(recipe.n_small_views, 1, 1, 1)
                small = list(D.activations(self._view(many, views, recipe.small_views)))
                compared += [[part] for part in small[-1].chunk(recipe.n_small_views)]
            total = total + recipe.contrast * contrast_loss(heads, compared, recipe.temperature)
        if recipe.consistency:
            total = total + recipe.consistency * inconsistency(self._judged(maps[-1]), self._judged(second[-1]))
        return total

    def _update(self, name: str, loss: Tensor) -> None:
        self.optimisers[name].zero_grad(set_to_none=True)
        with self.ranks.collective():
            loss.backward()
        self.optimisers[name].step()

    def _follow(self, number: int) -> None:
        """Move the averages: a <- d a + (1 - d) w, with d = min(decay, (1 + n) / (10 + n)) after n steps.

        The rising decay [TensorFlow's ExponentialMovingAverage] forgets the initial weights.
        """
        rising = (1 + number) / (10 + number)
        if self.discriminator_average is not None:
            _move(self.discriminator_average, self.discriminator, min(self.recipe.d_average, rising))
        if self.generator_average is not None:
            _move(self.generator_average, self.generator, min(self.recipe.g_average, rising))

    def _modules(self) -> dict[str, nn.Module]:
        """All that has a state, by name."""
        modules: dict[str, nn.Module | None] = {
            "discriminator": self.discriminator, "generator": self.generator, "heads": self.heads,
            "discriminator-average": self.discriminator_average, "generator-average": self.generator_average,
        }  # fmt: skip
        return {name: module for name, module in modules.items() if module is not None}

    def state(self) -> dict[str, Tensor]:
        """Every tensor that the next step depends on, by name: parameters, buffers, Adam's moments and step counts."""
        tensors: dict[str, Tensor] = {}
        for name, network in self._modules().items():
            tensors |= {f"{name}/{key}": value for key, value in network.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            for index, values in optimiser.state_dict()["state"].items():
                tensors |= {f"adam-{name}/{index}/{key}": value for key, value in values.items()}
        return {key: value.detach().contiguous() for key, value in tensors.items()}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Undo `state`."""
        for name, network in self._modules().items():
            prefix = f"{name}/"
            network.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        for name, optimiser in self.optimisers.items():
            parameters = self._parameters(name)
            moments: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith(f"adam-{name}/"):
                    _, index, moment = key.split("/")
                    if value.shape == parameters[int(index)].shape:
                        # The fused Adam walks raw memory: a moment must have its parameter's strides.
                        value = torch.empty_like(parameters[int(index)]).copy_(value)
                    moments.setdefault(int(index), {})[moment] = value
            optimiser.load_state_dict(optimiser.state_dict() | {"state": moments})
