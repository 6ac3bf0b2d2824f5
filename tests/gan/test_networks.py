"""The three published architectures, layer by layer, and their initial weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_input

from repr_eval.gan.architectures import ARCHITECTURES, architecture_named, scaled
from repr_eval.gan.networks import Discriminator, Generator, initialise

# As the paper and the released code have them: shape of the kernels, stride, side of the maps that come out.
DISCRIMINATORS = {
    "dcgan32": [
        ((128, 3, 3, 3), 1, 32),
        ((128, 128, 3, 3), 2, 16),
        ((256, 128, 3, 3), 1, 16),
        ((256, 256, 3, 3), 2, 8),
        ((512, 256, 3, 3), 1, 8),
        ((512, 512, 3, 3), 2, 4),
    ],
    "dcgan32-svhn": [
        ((64, 3, 5, 5), 2, 16),
        ((128, 64, 5, 5), 2, 8),
        ((256, 128, 5, 5), 2, 4),
    ],
    "dcgan64": [
        ((128, 3, 5, 5), 2, 32),
        ((256, 128, 5, 5), 2, 16),
        ((512, 256, 5, 5), 2, 8),
        ((1024, 512, 5, 5), 2, 4),
    ],
}
OUTPUT_UNIT = {"dcgan32": (1, 8192), "dcgan32-svhn": (1, 4096), "dcgan64": (1, 16384)}
# PyTorch keeps the kernels of a transposed convolution as [maps in, maps out, k, k].
GENERATORS = {
    "dcgan32": [
        ((512, 512, 3, 3), 2, 8),
        ((512, 256, 3, 3), 1, 8),
        ((256, 256, 3, 3), 2, 16),
        ((256, 128, 3, 3), 1, 16),
        ((128, 128, 3, 3), 2, 32),
        ((128, 3, 3, 3), 1, 32),
    ],
    "dcgan32-svhn": [
        ((256, 128, 5, 5), 2, 8),
        ((128, 64, 5, 5), 2, 16),
        ((64, 3, 5, 5), 2, 32),
    ],
    "dcgan64": [
        ((1024, 512, 5, 5), 2, 8),
        ((512, 256, 5, 5), 2, 16),
        ((256, 128, 5, 5), 2, 32),
        ((128, 3, 5, 5), 2, 64),
    ],
}
FIRST_LAYER = {"dcgan32": (8192, 256), "dcgan32-svhn": (4096, 100), "dcgan64": (16384, 100)}
NOISE = {"dcgan32": (256, "uniform"), "dcgan32-svhn": (100, "normal"), "dcgan64": (100, "uniform")}
IMAGE_SIZE = {"dcgan32": 32, "dcgan32-svhn": 32, "dcgan64": 64}

every_architecture = pytest.mark.parametrize("name", ARCHITECTURES)


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}


def norm_shapes(sizes: list[int], first: int = 0) -> dict[str, tuple[int, ...]]:
    return {f"norms.{i}.{name}": (size,) for i, size in enumerate(sizes, first) for name in ("weight", "bias")}


def drawn(network: nn.Module, seed: int = 0) -> Any:
    initialise(network, torch.Generator().manual_seed(seed))
    return network


def test_the_architectures_are_the_three_published_ones() -> None:
    assert list(ARCHITECTURES) == ["dcgan32", "dcgan32-svhn", "dcgan64"]


@every_architecture
def test_the_discriminator_has_exactly_the_published_parameters(name: str) -> None:
    with torch.device("meta"):
        network = Discriminator(architecture_named(name))
    expected: dict[str, tuple[int, ...]] = {}
    expected |= {f"convs.{i}.weight": shape for i, (shape, _, _) in enumerate(DISCRIMINATORS[name])}
    expected |= norm_shapes([shape[0] for shape, _, _ in DISCRIMINATORS[name][1:]])  # none on the input layer
    assert shapes(network) == expected | {"dense.weight": OUTPUT_UNIT[name]}


@every_architecture
def test_the_generator_has_exactly_the_published_parameters(name: str) -> None:
    with torch.device("meta"):
        network = Generator(architecture_named(name))
    expected: dict[str, tuple[int, ...]] = {"dense.weight": FIRST_LAYER[name]}
    expected |= {f"dense_norm.{part}": FIRST_LAYER[name][:1] for part in ("weight", "bias")}
    expected |= {f"convs.{i}.weight": shape for i, (shape, _, _) in enumerate(GENERATORS[name])}
    expected |= norm_shapes([shape[1] for shape, _, _ in GENERATORS[name][:-1]])  # none on the output layer
    assert shapes(network) == expected
    assert (network.z_dim, network.arch.z) == NOISE[name]


@every_architecture
def test_maps_have_the_published_sizes(name: str) -> None:
    arch, side = architecture_named(name), IMAGE_SIZE[name]
    discriminator, generator = Discriminator(arch, 0.02), Generator(arch, 0.02)
    x = torch.zeros(2, 3, side, side)
    assert [h.shape[2:] for h in discriminator.activations(x)] == [(out, out) for _, _, out in DISCRIMINATORS[name]]
    assert discriminator(x).shape == (2,)

    seen: list[tuple[int, ...]] = []
    for conv in generator.convs:
        conv.register_forward_hook(lambda _, args, out: seen.append(tuple(out.shape[2:])))
    generator(torch.zeros(2, NOISE[name][0]))
    assert seen == [(out, out) for _, _, out in GENERATORS[name]]
    assert arch.image_size == side


def test_the_imagenet_model_gives_28672_features_and_the_svhn_model_7168() -> None:
    assert sum(architecture_named("dcgan32").maps(1.0)) * 16 == 28_672
    assert sum(architecture_named("dcgan32-svhn").maps(1.0)) * 16 == 7_168


# An independent forward pass, from the parameters and the tables above.


def normalised(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """By the batch's own mean and biased variance, with the released code's eps."""
    dims = [0, *range(2, h.ndim)]
    variance, mean = torch.var_mean(h, dims, correction=0, keepdim=True)
    shape = (1, -1, *[1] * (h.ndim - 2))
    return (h - mean) / (variance + 1e-8).sqrt() * weight.view(shape) + bias.view(shape)


def logits_by_hand(name: str, p: dict[str, Tensor], x: Tensor) -> Tensor:
    for i, (shape, stride, _) in enumerate(DISCRIMINATORS[name]):
        x = F.conv2d(x, p[f"convs.{i}.weight"], stride=stride, padding=shape[2] // 2)
        if i > 0:
            x = normalised(x, p[f"norms.{i - 1}.weight"], p[f"norms.{i - 1}.bias"])
        x = torch.where(x > 0, x, 0.2 * x)
    return (x.flatten(1) * p["dense.weight"]).sum(1)


def images_by_hand(name: str, p: dict[str, Tensor], z: Tensor) -> Tensor:
    h = normalised(z @ p["dense.weight"].T, p["dense_norm.weight"], p["dense_norm.bias"]).clamp(min=0)
    h = h.reshape(len(z), -1, 4, 4)
    last = len(GENERATORS[name]) - 1
    for i, (shape, stride, side) in enumerate(GENERATORS[name]):
        # The adjoint of the convolution that takes the larger map to the smaller one.
        below = torch.zeros(len(h), p[f"convs.{i}.weight"].shape[1], side, side, dtype=h.dtype)
        h = conv2d_input(list(below.shape), p[f"convs.{i}.weight"], h, stride=stride, padding=shape[2] // 2)
        if i < last:
            h = normalised(h, p[f"norms.{i}.weight"], p[f"norms.{i}.bias"]).clamp(min=0)
    return torch.tanh(h)


@every_architecture
@pytest.mark.parametrize("scale", [1.0, 1e-3])  # the small one makes batch norm's eps matter
def test_both_networks_compute_what_the_paper_says(name: str, scale: float) -> None:
    arch, rng = architecture_named(name), torch.Generator().manual_seed(1)
    discriminator: Discriminator = drawn(Discriminator(arch, 0.05)).double()
    generator: Generator = drawn(Generator(arch, 0.05, z_dim=7)).double()
    for network in (discriminator, generator):
        for parameter_name, parameter in network.named_parameters():
            if parameter_name.endswith("bias"):  # zero at first, and then a wrong sign would not show
                nn.init.normal_(parameter, 0.0, 0.1, rng)
    x = scale * torch.rand(5, 3, arch.image_size, arch.image_size, generator=rng, dtype=torch.float64) - scale / 2
    z = scale * torch.randn(5, 7, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(discriminator(x), logits_by_hand(name, dict(discriminator.named_parameters()), x))
    torch.testing.assert_close(generator(z), images_by_hand(name, dict(generator.named_parameters()), z))


def test_leaky_relu_has_slope_one_fifth() -> None:
    network = Discriminator(architecture_named("dcgan32"), 0.01)
    kernels = torch.zeros(1, 3, 3, 3)
    kernels[0, 1, 1, 1] = 1.0  # the first map is the green channel
    network.load_state_dict({"convs.0.weight": kernels}, strict=False)
    x = torch.full((1, 3, 32, 32), -1.0)
    x[..., 16:] = 0.5
    first = next(network.activations(x))[0, 0]
    torch.testing.assert_close(first[:, :16], torch.full((32, 16), -0.2))
    torch.testing.assert_close(first[:, 16:], torch.full((32, 16), 0.5))


@every_architecture
def test_generated_images_fill_the_range_and_never_leave_it(name: str) -> None:
    arch = architecture_named(name)
    generator: Generator = drawn(Generator(arch, 0.05))
    output = f"convs.{len(GENERATORS[name]) - 1}.weight"
    generator.load_state_dict({output: 1000 * generator.state_dict()[output]}, strict=False)
    with torch.no_grad():
        images = generator(torch.randn(4, generator.z_dim, generator=torch.Generator().manual_seed(0)))
    assert images.shape == (4, 3, arch.image_size, arch.image_size)
    assert (images.min(), images.max()) == (-1.0, 1.0)


# Width.


@pytest.mark.parametrize(
    ("maps", "width", "expected"), [(128, 1.0, 128), (128, 0.5, 64), (64, 0.05, 3), (256, 0.05, 13), (64, 1e-3, 1)]
)
def test_width_scales_the_maps(maps: int, width: float, expected: int) -> None:
    assert scaled(maps, width) == expected


@every_architecture
def test_half_width_halves_every_layer_but_not_the_images_nor_the_noise(name: str) -> None:
    arch = architecture_named(name)
    with torch.device("meta"):
        discriminator, generator = Discriminator(arch, 0.5), Generator(arch, 0.5)
    maps = [shape[0] // 2 for shape, _, _ in DISCRIMINATORS[name]]
    assert arch.maps(0.5) == tuple(maps)
    kernel = DISCRIMINATORS[name][0][0][2]
    found = shapes(discriminator)
    for i, (before, after) in enumerate(zip([3, *maps], maps, strict=False)):
        assert found[f"convs.{i}.weight"] == (after, before, kernel, kernel)
    assert found["dense.weight"] == (1, maps[-1] * 16)

    maps = [shape[0] // 2 for shape, _, _ in GENERATORS[name]]
    found = shapes(generator)
    assert found["dense.weight"] == (maps[0] * 16, NOISE[name][0])
    for i, (before, after) in enumerate(zip(maps, [*maps[1:], 3], strict=True)):
        assert found[f"convs.{i}.weight"] == (before, after, kernel, kernel)


@pytest.mark.parametrize("width", [0, -0.5, 16.5, float("nan"), float("inf")])
@pytest.mark.parametrize("build", [Discriminator, Generator])
def test_an_impossible_width_is_refused(build: Callable[..., nn.Module], width: float) -> None:
    with pytest.raises(ValueError, match=rf"width {width}"):
        build(architecture_named("dcgan32"), width)


def test_an_unknown_architecture_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'dcgan128'; choose from dcgan32, dcgan32-svhn, dcgan64"):
        architecture_named("dcgan128")


def test_noise_needs_a_length() -> None:
    with pytest.raises(ValueError, match="z_dim=0"):
        Generator(architecture_named("dcgan32"), 0.05, z_dim=0)


# The first layers alone.


@pytest.mark.parametrize("layers", [1, 3, 5])
def test_the_first_layers_alone_have_the_same_features_and_no_logit(layers: int) -> None:
    arch = architecture_named("dcgan32")
    whole: Discriminator = drawn(Discriminator(arch, 0.05)).eval()
    first = Discriminator(arch, 0.05, layers).eval()
    assert first.dense is None
    assert (len(first.convs), len(first.norms)) == (layers, layers - 1)
    first.load_state_dict({key: whole.state_dict()[key] for key in first.state_dict()})
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for one, other in zip(first.activations(x), whole.activations(x), strict=False):
        assert torch.equal(one, other)
    with pytest.raises(ValueError, match=f"of {layers} layers has no output unit"):
        first(x)


@pytest.mark.parametrize("layers", [0, -1, 7])
def test_layers_that_do_not_exist_are_refused(layers: int) -> None:
    with pytest.raises(ValueError, match=f"layers={layers}: dcgan32 has layers 1 to 6"):
        Discriminator(architecture_named("dcgan32"), 0.05, layers)


# Initial weights.


@pytest.mark.parametrize("build", [Discriminator, Generator])
def test_initial_weights_are_the_published_ones(build: Callable[..., nn.Module]) -> None:
    network = drawn(build(architecture_named("dcgan32"), 0.25))
    gains = []
    for name, parameter in network.state_dict().items():
        if name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            continue
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif "norm" in name:
            gains.append(parameter)
        else:
            assert_normal(name, parameter, 0.0)
    assert_normal("batch-norm gains", torch.cat(gains), 1.0)


def assert_normal(name: str, values: Tensor, mean: float) -> None:
    """N(mean, 0.02), each of three statistics within five of its standard errors (one in a million by chance)."""
    n, std = values.numel(), 0.02
    assert abs(float(values.mean()) - mean) < 5 * std / n**0.5, name
    assert abs(float(values.std()) - std) < 5 * std / (2 * n) ** 0.5, name
    beyond = float(((values - mean).abs() > 2 * std).float().mean())
    assert abs(beyond - 0.0455) < 5 * (0.0455 * 0.9545 / n) ** 0.5, name  # a cut or a uniform distribution has fewer


def test_initial_weights_depend_on_the_given_generator_alone() -> None:
    def weights(seed: int, global_seed: int) -> Tensor:
        torch.manual_seed(global_seed)
        network = drawn(Discriminator(architecture_named("dcgan32-svhn"), 0.05), seed)
        return torch.cat([parameter.flatten() for parameter in network.parameters()])

    with torch.random.fork_rng():
        assert torch.equal(weights(3, 0), weights(3, 1))
        assert not torch.equal(weights(3, 0), weights(4, 0))
