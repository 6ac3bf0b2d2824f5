"""The two networks, their optimisers, and one step of the game between them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repr_eval.gan.networks import Discriminator, Generator, architecture_named, initialise
from repr_eval.gan.randomness import generator_for
from repr_eval.gan.settings import TrainingSettings

ADAM_BETA2 = 0.999  # Adam's own default, which the paper keeps


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


class Adversaries:
    """Discriminator and generator with an Adam each, on one device, in channels-last layout.

    D's running batch-norm statistics follow the *real* batches only; G's follow its own.
    """

    def __init__(self, settings: TrainingSettings, device: torch.device):
        arch = architecture_named(settings.arch)
        self.settings, self.device = settings, device
        self.discriminator = Discriminator(arch, settings.width)
        self.generator = Generator(arch, settings.width, settings.z_dim)
        initialise(self.discriminator, generator_for(settings.seed, "init-d"))
        initialise(self.generator, generator_for(settings.seed, "init-g"))
        for network in self.networks.values():
            network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimisers = {
            name: torch.optim.Adam(network.parameters(), settings.lr, (settings.beta1, ADAM_BETA2), fused=True)
            for name, network in self.networks.items()
        }

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"discriminator": self.discriminator, "generator": self.generator}

    def step(self, real: Tensor, z: Tensor) -> Tensor:
        """Update D once, then G once, on one fake batch; float [2], D's and G's losses before their updates.

        D: binary cross-entropy, real against fake, each batch normalised by its own statistics. G: the
        non-saturating loss, through the D just updated. Differs from the paper's code: it draws a new batch for
        each of the two updates.
        """
        bf16 = self.settings.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            fake = self.generator(z)
            on_real = self.discriminator(real)
            with batch_statistics(self.discriminator):
                on_fake = self.discriminator(fake.detach())
        d_loss = F.softplus(-on_real.float()).mean() + F.softplus(on_fake.float()).mean()
        self._update("discriminator", d_loss)

        self.discriminator.requires_grad_(False)
        with (
            torch.autocast(self.device.type, torch.bfloat16, enabled=bf16),
            batch_statistics(self.discriminator),
        ):
            on_fake = self.discriminator(fake)
        g_loss = F.softplus(-on_fake.float()).mean()
        self._update("generator", g_loss)
        self.discriminator.requires_grad_(True)
        return torch.stack([d_loss.detach(), g_loss.detach()])

    def _update(self, name: str, loss: Tensor) -> None:
        self.optimisers[name].zero_grad(set_to_none=True)
        loss.backward()
        self.optimisers[name].step()

    def state(self) -> dict[str, Tensor]:
        """Every tensor that the next step depends on, by name: parameters, buffers, Adam's moments and step counts."""
        tensors: dict[str, Tensor] = {}
        for name, network in self.networks.items():
            tensors |= {f"{name}/{key}": value for key, value in network.state_dict().items()}
            moments = self.optimisers[name].state_dict()["state"]
            for index, values in moments.items():
                tensors |= {f"adam-{name}/{index}/{key}": value for key, value in values.items()}
        return {key: value.detach().contiguous() for key, value in tensors.items()}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Undo `state`."""
        for name, network in self.networks.items():
            prefix = f"{name}/"
            network.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
            parameters = list(network.parameters())
            moments: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith(f"adam-{name}/"):
                    _, index, moment = key.split("/")
                    if value.shape == parameters[int(index)].shape:
                        # The fused Adam walks raw memory: a moment must have its parameter's strides.
                        value = torch.empty_like(parameters[int(index)]).copy_(value)
                    moments.setdefault(int(index), {})[moment] = value
            optimiser = self.optimisers[name]
            optimiser.load_state_dict(optimiser.state_dict() | {"state": moments})
